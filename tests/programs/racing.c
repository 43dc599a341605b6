/* One thread ends the process while another makes threads: some are killed before anybody hears of them. */
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

static void *end(void *after_us) {
  usleep((long)after_us);
  _exit(7);
}

static void *wait(void *nothing) {
  pause();
  return nothing;
}

int main(int count, char **words) {
  pthread_t thread;
  pthread_create(&thread, 0, end, (void *)(count > 1 ? atol(words[1]) : 0));
  for (;;) pthread_create(&thread, 0, wait, 0);
}
