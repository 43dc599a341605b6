#include "own.h"
/* preadv2: at an offset of its own, and with -1 at the position, which moves on */
int main() {
  struct iovec v[2] = {{B, 100}, {B + 100, 20}};
  mk("f", 10000);
  int f = open("f", O_RDONLY);
  CK(preadv2(f, v, 2, 4000, 0) == 120); E("f", 4000, 120);
  CK(preadv2(f, v, 2, -1, 0) == 120); E("f", 0, 120);
  CK(preadv2(f, v, 1, -1, 0) == 100); E("f", 120, 100);
  R(f, "f", 220, 8);
  return 0;
}
