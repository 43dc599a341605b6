#include "own.h"
/* Children that ask not to be traced: by clone, by clone3, and by a clone that fails. What the program passed to
   the call is as it was afterwards, in the parent and in the child. */
#define CLONE_UNTRACED_ 0x800000ul
static unsigned long after; /* the register of the first argument, when the call has returned */
static long raw(long n, unsigned long a) {
  long r;
  register long r10 __asm__("r10") = 0, r8 __asm__("r8") = 0;
  unsigned long d = a;
  __asm__ volatile("syscall" : "=a"(r), "+D"(d) : "a"(n), "S"(0), "d"(0), "r"(r10), "r"(r8) : "rcx", "r11", "memory");
  after = d;
  return r;
}
int main() {
  int status;
  mk("f", 1000);
  unsigned long flags = CLONE_UNTRACED_ | SIGCHLD;
  pid_t p = raw(SYS_clone, flags);
  CK(after == flags);
  if (!p) {
    int f = open("f", O_RDONLY);
    R(f, "f", 0, 10);
    _exit(f < 0 || after != flags);
  }
  waitpid(p, &status, 0);
  CK(!WEXITSTATUS(status));
  unsigned long long args[11] = {CLONE_UNTRACED_, 0, 0, 0, SIGCHLD};
  p = syscall(435, args, sizeof args);
  if (!p) {
    int f = open("f", O_RDONLY);
    R(f, "f", 0, 20);
    _exit(f < 0);
  }
  waitpid(p, &status, 0);
  CK(!WEXITSTATUS(status) && args[0] == CLONE_UNTRACED_);
  flags = CLONE_UNTRACED_ | CLONE_THREAD; /* without CLONE_SIGHAND: EINVAL */
  CK(raw(SYS_clone, flags) < 0 && after == flags);
  return 0;
}
