/* Prints a key of 256 bits in hexadecimal.
 *
 *     gcc -std=c99 -O2 -I client/c client/c/examples/key.c -o key
 */
#include "hwentropy.h"

#include <stdio.h>

int main(void)
{
    hwentropy_client *client;
    unsigned char key[32];
    if (hwentropy_open(&client, NULL)) {
        perror("key");
        return 1;
    }
    int status = hwentropy_fill(client, key, sizeof key);
    if (status) {
        char why[320];
        hwentropy_message(client, status, errno, why, sizeof why);
        fprintf(stderr, "key: %s\n", why);
    } else {
        for (size_t i = 0; i < sizeof key; i++)
            printf("%02x", (unsigned)key[i]);
        putchar('\n');
    }
    hwentropy_wipe(key, sizeof key);
    hwentropy_close(client);
    return status != 0;
}
