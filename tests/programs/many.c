/* many FILE COUNT: reads of 512 bytes, round and round in the first 512,000 bytes. */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
int main(int count, char **words) {
    char buffer[512];
    int file = open(words[1], O_RDONLY);
    for (long n = 0; n < atol(words[2]); n++)
        if (pread(file, buffer, 512, n % 1000 * 512) != 512) return 1;
    return 0;
}
