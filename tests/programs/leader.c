#include "own.h"
/* The first thread ends; the others go on to read in every way whose facts lie in memory or in /proc. */
#include <linux/aio_abi.h>
static void *child(void *x) {
  int fd = open("g", O_RDONLY);
  R(fd, "g", 0, 7);
  return 0;
}
static void *rest(void *leader) {
  pthread_join(*(pthread_t *)leader, 0);
  usleep(20000); /* until /proc shows it as a zombie, of which nothing can be asked */
  int f = open("f", O_RDONLY), p[2];
  R(f, "f", 0, 10);
  CK(!pipe(p));
  off_t o = 50;
  CK(sendfile(p[1], f, &o, 30) == 30); E("f", 50, 30);
  loff_t l = 100;
  CK(splice(f, &l, p[1], 0, 40, 0) == 40); E("f", 100, 40);
  struct iovec v = {B, 15};
  CK(preadv(f, &v, 1, 200) == 15); E("f", 200, 15);
  aio_context_t c = 0;
  CK(!syscall(SYS_io_setup, 8, &c));
  struct iocb a = {.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = f, .aio_buf = (uintptr_t)B,
                   .aio_nbytes = 50, .aio_offset = 300}, *list = &a;
  struct io_event event;
  CK(syscall(SYS_io_submit, c, 1, &list) == 1);
  CK(syscall(SYS_io_getevents, c, 1, 1, &event, 0) == 1); E("f", 300, 50);
  pthread_t t; /* clone3: its flags lie in memory */
  pthread_create(&t, 0, child, 0);
  pthread_join(t, 0);
  R(f, "f", 10, 5);
  exit(0);
}
static pthread_t leader;
int main() {
  mk("f", 10000);
  mk("g", 10000);
  pthread_t t;
  leader = pthread_self();
  pthread_create(&t, 0, rest, &leader);
  pthread_exit(0);
}
