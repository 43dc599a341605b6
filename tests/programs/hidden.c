/* After it has hidden itself (not dumpable) it opens, reads, and makes threads and children, which nobody but
   root can look into. With an argument it hides by being a program that may be executed, but not read. */
#include "own.h"
static int f;
static void *reads(void *none) {
  R(f, "f", 10, 10);
  return none;
}
int main(int count, char **arguments) {
  mk("f", 1000);
  mk("g", 1000);
  if (count > 1)
    CK(!prctl(PR_GET_DUMPABLE));
  else
    CK(!prctl(PR_SET_DUMPABLE, 0));
  f = open("f", O_RDONLY);
  R(f, "f", 0, 10);
  pthread_t thread;
  CK(!pthread_create(&thread, 0, reads, 0)); /* shares f and where it stands */
  CK(!pthread_join(thread, 0));
  if (!fork()) { /* shares where it stands, but not what it closes */
    R(f, "f", 20, 10);
    close(f);
    _exit(0);
  }
  wait(0);
  R(f, "f", 30, 10);
  off_t offset = 50;
  int ends[2];
  CK(!pipe(ends));
  CK(sendfile(ends[1], f, &offset, 30) == 30); /* the offset lies in memory, the position stays */
  E("f", 50, 30);
  R(f, "f", 40, 10);
  close(f);
  CK(open("g", O_RDONLY) == f); /* the same number, another file */
  R(f, "g", 0, 10);
  return 0;
}
