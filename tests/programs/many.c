/* many FILE COUNT: reads of 512 bytes, round and round in the first 512,000 bytes, a million a second at most: a
   pause after each few thousand lets a busy machine empty what they fill. */
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
int main(int count, char **words) {
    char buffer[512];
    int file = open(words[1], O_RDONLY);
    struct timespec pause = {0, 5000000};
    for (long n = 0; n < atol(words[2]); n++) {
        if (pread(file, buffer, 512, n % 1000 * 512) != 512) return 1;
        if (n % 5000 == 4999) nanosleep(&pause, 0);
    }
    return 0;
}
