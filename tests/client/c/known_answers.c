/* What hwentropy_open says where the cipher, the hash or nothing computes wrongly.
 *
 * A line in names what is wrong (`cipher`, `hash`, `nothing`), a line out has the status
 * and its message.
 */
#include "hwentropy/base.h"

static int wrong_cipher, wrong_hash;

/* The two go by these on their way in or out. */
#define hwentropy_le32(x) (hwentropy_le32(x) ^ (uint32_t)wrong_cipher)
#define hwentropy_load64_be(x) (hwentropy_load64_be(x) ^ (uint64_t)wrong_hash)

#include "hwentropy.h"

int main(void)
{
    char line[64], text[320];
    while (fgets(line, sizeof line, stdin)) {
        hwentropy_client *client, *told;
        wrong_cipher = !strcmp(line, "cipher\n");
        wrong_hash = !strcmp(line, "hash\n");
        int status = hwentropy_open(&client, NULL);
        int made = client != NULL;
        wrong_cipher = wrong_hash = 0;
        hwentropy_close(client);
        if (hwentropy_open(&told, NULL))
            return 1;
        hwentropy_message(told, status, 0, text, sizeof text);
        hwentropy_close(told);
        printf("%d %d %s\n", status, made, text);
        fflush(stdout);
    }
    return 0;
}
