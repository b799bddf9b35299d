/* Draws 32 bytes at a time without end and writes them to its output; goes on where the
 * daemon is gone for a while. */
#include "hwentropy.h"

#include <stdio.h>
#include <time.h>

int main(void)
{
    hwentropy_client *client;
    unsigned char drawn[32];
    const struct timespec pause = {0, 1000000};
    if (hwentropy_open(&client, NULL))
        return 1;
    for (;;) {
        int status = hwentropy_fill(client, drawn, sizeof drawn);
        if (!status && write(1, drawn, sizeof drawn) != (ssize_t)sizeof drawn)
            return 2;
        if (status && status != HWENTROPY_NO_DAEMON && status != HWENTROPY_LOST) {
            fprintf(stderr, "status %d\n", status);
            return 3;
        }
        (void)nanosleep(&pause, NULL);
    }
}
