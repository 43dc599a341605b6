#include "own.h"
/* Descriptors taken from another process, copies of one open file with one position, and what exec closes. */
#include <sys/ioctl.h>
#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif
int main(int ac, char **av) {
  if (ac > 1) { /* after exec: only the first is still open */
    int kept = atoi(av[1]), closed = atoi(av[2]);
    R(kept, "f", 10, 10);
    CK(read(closed, B, 1) < 0);
    int again = open("g", O_RDONLY);
    CK(again == closed || again < closed);
    R(again, "g", 0, 3);
    return 0;
  }
  mk("f", 10000);
  mk("g", 10000);
  int f = open("f", O_RDONLY), p[2];
  CK(!pipe(p));
  R(f, "f", 0, 100);
  pid_t parent = getpid(), child = fork();
  if (!child) {
    char c;
    close(f);
    int pidfd = syscall(SYS_pidfd_open, parent, 0), own = syscall(SYS_pidfd_getfd, pidfd, f, 0);
    if (own < 0) _exit(0); /* not allowed here */
    R(own, "f", 100, 50);
    _exit(1);
  }
  int status, given;
  waitpid(child, &status, 0);
  given = WEXITSTATUS(status);
  R(f, "f", given ? 150 : 100, 25);
  int kept = open("f", O_RDONLY | O_CLOEXEC), closed = open("g", O_RDONLY);
  R(kept, "f", 0, 10);
  R(closed, "g", 0, 10);
  CK(!ioctl(kept, FIONCLEX));
  CK(!ioctl(closed, FIOCLEX));
  char a[16], b[16];
  sprintf(a, "%d", kept);
  sprintf(b, "%d", closed);
  execl("/proc/self/exe", "passed", a, b, (char *)0);
  return 1;
}
