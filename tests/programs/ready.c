// A server that says itself when it is ready: it listens on a port that it chooses, or that it is given, after
// some milliseconds, and writes to a file, renamed into place, what CLOCK_MONOTONIC shows right after that, in
// ns, its process id, and what the clock showed right before: in between it began to listen.
// ready FILE PORT MILLISECONDS
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int main(int count, char **words) {
  if (count < 4) return 2;
  struct timespec before, now, nap = {atoi(words[3]) / 1000, atoi(words[3]) % 1000 * 1000000L};
  char name[4096];
  snprintf(name, sizeof name, "%s.new", words[1]);
  FILE *told = fopen(name, "w");
  int server = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(words[2]))};
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (!told || bind(server, (struct sockaddr *)&at, sizeof at)) return 3;
  nanosleep(&nap, NULL);
  clock_gettime(CLOCK_MONOTONIC, &before);
  if (listen(server, 8)) return 4;
  clock_gettime(CLOCK_MONOTONIC, &now);
  fprintf(told, "%lld\n%d\n", now.tv_sec * 1000000000LL + now.tv_nsec, getpid());
  fprintf(told, "%lld\n", before.tv_sec * 1000000000LL + before.tv_nsec);
  fclose(told);
  rename(name, words[1]);
  puts("ready to serve");
  fflush(stdout);
  for (;;) pause();
}
