/* The ChaCha20 block function of RFC 8439 section 2.3, several blocks at a time.
 *
 * The same rounds run on one word (any compiler) or on vectors of 4, 8 or 16 words,
 * lane i of which belongs to block i; the widest that the processor has is chosen
 * at run time.  HWENTROPY_PORTABLE leaves the vectors out.  No table, no branch
 * on secret data: the time depends on the length alone.
 *
 * What this does not do: encrypt, or stop where the 32-bit block counter starts
 * again (256 GiB); its callers ask for less.
 */
#ifndef HWENTROPY_CHACHA20_H
#define HWENTROPY_CHACHA20_H

#include "base.h"

enum { HWENTROPY_KEY_BYTES = 32, HWENTROPY_CHACHA20_BLOCK = 64 };

#define HWENTROPY_ROTATE(x, n) ((x) << (n) | (x) >> (32 - (n)))

/* RFC 8439 2.1. */
#define HWENTROPY_QUARTER_ROUND(a, b, c, d)      \
    do {                                         \
        a += b, d ^= a, d = HWENTROPY_ROTATE(d, 16); \
        c += d, b ^= c, b = HWENTROPY_ROTATE(b, 12); \
        a += b, d ^= a, d = HWENTROPY_ROTATE(d, 8);  \
        c += d, b ^= c, b = HWENTROPY_ROTATE(b, 7);  \
    } while (0)

/* RFC 8439 2.3: 20 rounds, by columns and by diagonals in turn. */
#define HWENTROPY_ROUNDS(x)                                       \
    for (int round_ = 0; round_ < 10; round_++) {                 \
        HWENTROPY_QUARTER_ROUND(x[0], x[4], x[8], x[12]);         \
        HWENTROPY_QUARTER_ROUND(x[1], x[5], x[9], x[13]);         \
        HWENTROPY_QUARTER_ROUND(x[2], x[6], x[10], x[14]);        \
        HWENTROPY_QUARTER_ROUND(x[3], x[7], x[11], x[15]);        \
        HWENTROPY_QUARTER_ROUND(x[0], x[5], x[10], x[15]);        \
        HWENTROPY_QUARTER_ROUND(x[1], x[6], x[11], x[12]);        \
        HWENTROPY_QUARTER_ROUND(x[2], x[7], x[8], x[13]);         \
        HWENTROPY_QUARTER_ROUND(x[3], x[4], x[9], x[14]);         \
    }

/* One block of keystream; counts the block counter up. */
HWENTROPY_FN void hwentropy_chacha20_block(uint32_t state[16], unsigned char *out)
{
    uint32_t x[16];
    memcpy(x, state, sizeof x);
    HWENTROPY_ROUNDS(x)
    for (int i = 0; i < 16; i++)
        x[i] = hwentropy_le32(x[i] + state[i]);
    memcpy(out, x, sizeof x);
    hwentropy_wipe(x, sizeof x);
    state[12]++;
}

#ifndef HWENTROPY_PORTABLE

/* As many whole groups of `lanes` blocks as there are in `blocks`; returns how many
 * blocks that was.  Word w of block i is lane i of x[w]: it goes through memory to
 * its place in the output. */
#define HWENTROPY_CHACHA20_VECTOR(name, lanes, target)                              \
    target HWENTROPY_FN size_t name(uint32_t state[16], unsigned char *out, size_t blocks) \
    {                                                                               \
        typedef uint32_t vector __attribute__((vector_size(4 * lanes)));            \
        vector x[16], start[16];                                                    \
        uint32_t words[16][lanes];                                                  \
        size_t done = 0;                                                            \
        for (; blocks - done >= lanes; done += lanes) {                             \
            for (int w = 0; w < 16; w++)                                            \
                for (int i = 0; i < lanes; i++)                                     \
                    start[w][i] = state[w];                                         \
            for (uint32_t i = 0; i < lanes; i++)                                    \
                start[12][i] += i;                                                  \
            memcpy(x, start, sizeof x);                                             \
            HWENTROPY_ROUNDS(x)                                                     \
            for (int w = 0; w < 16; w++)                                            \
                x[w] += start[w];                                                   \
            memcpy(words, x, sizeof words);                                         \
            for (int i = 0; i < lanes; i++) {                                       \
                for (int w = 0; w < 16; w++) {                                      \
                    uint32_t word = hwentropy_le32(words[w][i]);                    \
                    memcpy(out + 4 * w, &word, sizeof word);                        \
                }                                                                   \
                out += HWENTROPY_CHACHA20_BLOCK;                                    \
            }                                                                       \
            state[12] += lanes;                                                     \
        }                                                                           \
        hwentropy_wipe(x, sizeof x);                                                \
        hwentropy_wipe(start, sizeof start);                                        \
        hwentropy_wipe(words, sizeof words);                                        \
        return done;                                                                \
    }

HWENTROPY_CHACHA20_VECTOR(hwentropy_chacha20_by4, 4, )
#if defined(__x86_64__)
HWENTROPY_CHACHA20_VECTOR(hwentropy_chacha20_by8, 8, __attribute__((target("avx2"))))
HWENTROPY_CHACHA20_VECTOR(hwentropy_chacha20_by16, 16, __attribute__((target("avx512f"))))
#endif
#endif

/* The next `blocks` blocks of the keystream of a state (RFC 8439 2.3). */
HWENTROPY_FN void hwentropy_chacha20_blocks(
    uint32_t state[16], unsigned char *out, size_t blocks)
{
    size_t done = 0;
#ifndef HWENTROPY_PORTABLE
#if defined(__x86_64__)
    __builtin_cpu_init(); /* also before constructors have run */
    if (__builtin_cpu_supports("avx512f"))
        done += hwentropy_chacha20_by16(state, out, blocks);
    if (__builtin_cpu_supports("avx2"))
        done += hwentropy_chacha20_by8(
            state, out + HWENTROPY_CHACHA20_BLOCK * done, blocks - done);
#endif
    done += hwentropy_chacha20_by4(
        state, out + HWENTROPY_CHACHA20_BLOCK * done, blocks - done);
#endif
    for (; done < blocks; done++)
        hwentropy_chacha20_block(state, out + HWENTROPY_CHACHA20_BLOCK * done);
}

/* RFC 8439 2.3: constants, key, block counter, nonce. */
HWENTROPY_FN void hwentropy_chacha20_state(uint32_t state[16],
    const unsigned char key[HWENTROPY_KEY_BYTES], uint32_t counter, const unsigned char nonce[12])
{
    static const unsigned char constants[] = "expand 32-byte k";
    memcpy(state, constants, 16);
    memcpy(state + 4, key, HWENTROPY_KEY_BYTES);
    memcpy(state + 13, nonce, 12);
    for (int i = 0; i < 16; i++)
        state[i] = hwentropy_le32(state[i]);
    state[12] = counter;
}

/* ChaCha20(key)[:size] of docs/drbg.md: counter and nonce from 0, at most 256 GiB. */
HWENTROPY_FN void hwentropy_keystream(
    const unsigned char key[HWENTROPY_KEY_BYTES], unsigned char *out, size_t size)
{
    static const unsigned char nonce[12] = {0};
    uint32_t state[16] = {0};
    size_t whole = size / HWENTROPY_CHACHA20_BLOCK, rest = size % HWENTROPY_CHACHA20_BLOCK;
    hwentropy_chacha20_state(state, key, 0, nonce);
    hwentropy_chacha20_blocks(state, out, whole);
    if (rest) {
        unsigned char last[HWENTROPY_CHACHA20_BLOCK];
        hwentropy_chacha20_block(state, last);
        memcpy(out + size - rest, last, rest);
        hwentropy_wipe(last, sizeof last);
    }
    hwentropy_wipe(state, sizeof state);
}
#endif
