/* The primitives on what the tests read from files of known answers.
 *
 * Lines in, lines out; bytes in hexadecimal, `-` for none:
 *   chacha20 KEY COUNTER NONCE BLOCKS   that many blocks of keystream
 *   blockwise KEY COUNTER NONCE BLOCKS  the same, a block at a time
 *   lanes N KEY BLOCKS                  from vectors of N words; `absent` without them
 *   sha512 DATA PARTS                   the digest, DATA taken in so many parts
 *   hkdf SIZE SALT IKM INFO
 *   start PURPOSE                       a new generator
 *   reseed IKM
 *   read SIZE                           as docs/drbg.md: small, or under a one-time key
 */
#include "hwentropy.h"

#include <inttypes.h>

enum { MAX_LINE = 1 << 16, MAX_OUT = 1 << 20 };

static char line[MAX_LINE], first[MAX_LINE], second[MAX_LINE], third[MAX_LINE];
static unsigned char a[MAX_LINE], b[MAX_LINE], c[MAX_LINE], out[MAX_OUT];

static size_t decode(const char *text, unsigned char *to)
{
    size_t size = 0;
    unsigned byte;
    if (!strcmp(text, "-"))
        return 0;
    for (; sscanf(text + 2 * size, "%2x", &byte) == 1; size++)
        to[size] = (unsigned char)byte;
    return size;
}

static void print(size_t size)
{
    for (size_t i = 0; i < size; i++)
        printf("%02x", out[i]);
    putchar('\n');
    fflush(stdout);
}

static size_t by_lanes(unsigned lanes, uint32_t state[16], size_t blocks)
{
#ifndef HWENTROPY_PORTABLE
    if (lanes == 4)
        return hwentropy_chacha20_by4(state, out, blocks);
#if defined(__x86_64__)
    if (lanes == 8 && __builtin_cpu_supports("avx2"))
        return hwentropy_chacha20_by8(state, out, blocks);
    if (lanes == 16 && __builtin_cpu_supports("avx512f"))
        return hwentropy_chacha20_by16(state, out, blocks);
#endif
#endif
    (void)lanes, (void)state, (void)blocks;
    return 0;
}

int main(void)
{
    static struct hwentropy_drbg drbg;
    static char purpose[64];
    static const unsigned char zeros[12] = {0};
    uint32_t state[16], counter;
    unsigned lanes;
    size_t n;
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "chacha20 %s %" SCNu32 " %s %zu", first, &counter, second, &n) == 4) {
            (void)decode(first, a), (void)decode(second, b);
            hwentropy_chacha20_state(state, a, counter, b);
            hwentropy_chacha20_blocks(state, out, n);
            print(n * HWENTROPY_CHACHA20_BLOCK);
        } else if (sscanf(line, "blockwise %s %" SCNu32 " %s %zu", first, &counter, second, &n)
            == 4) {
            (void)decode(first, a), (void)decode(second, b);
            hwentropy_chacha20_state(state, a, counter, b);
            for (size_t i = 0; i < n; i++)
                hwentropy_chacha20_block(state, out + i * HWENTROPY_CHACHA20_BLOCK);
            print(n * HWENTROPY_CHACHA20_BLOCK);
        } else if (sscanf(line, "lanes %u %s %zu", &lanes, first, &n) == 3) {
            (void)decode(first, a);
            hwentropy_chacha20_state(state, a, 0, zeros);
            n = by_lanes(lanes, state, n);
            if (n)
                print(n * HWENTROPY_CHACHA20_BLOCK);
            else
                puts("absent"), fflush(stdout);
        } else if (sscanf(line, "sha512 %s %zu", first, &n) == 2) {
            struct hwentropy_sha512 s;
            size_t size = decode(first, a), done = 0;
            hwentropy_sha512_begin(&s);
            for (size_t i = 1; i <= n; i++) {
                hwentropy_sha512_take(&s, a + done, size * i / n - done);
                done = size * i / n;
            }
            hwentropy_sha512_end(&s, out);
            print(HWENTROPY_SHA512_BYTES);
        } else if (sscanf(line, "hkdf %zu %s %s %s", &n, first, second, third) == 4) {
            size_t salt = decode(first, a), ikm = decode(second, b), info = decode(third, c);
            hwentropy_hkdf(out, n, a, salt, b, ikm, c, info);
            print(n);
        } else if (sscanf(line, "start %63s", purpose) == 1) {
            memset(&drbg, 0, sizeof drbg);
            puts("ok"), fflush(stdout);
        } else if (sscanf(line, "reseed %s", first) == 1) {
            hwentropy_drbg_reseed(&drbg, purpose, a, decode(first, a));
            puts("ok"), fflush(stdout);
        } else if (sscanf(line, "read %zu", &n) == 1 && n <= sizeof out) {
            if (n <= HWENTROPY_DRBG_SMALL) {
                hwentropy_drbg_take(&drbg, out, n);
            } else {
                hwentropy_drbg_take(&drbg, a, HWENTROPY_KEY_BYTES);
                hwentropy_keystream(a, out, n);
            }
            print(n);
        } else {
            puts("broken"), fflush(stdout);
        }
    }
    return 0;
}
