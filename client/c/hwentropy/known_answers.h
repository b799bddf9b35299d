/* Known-answer tests: whether this machine and this build compute as they must.
 *
 *   ChaCha20   the first block under the zero key (RFC 8439 A.1, vector 1)
 *   both       HKDF-SHA-512 of 4,096 bytes of that keystream, so all lanes of its vectors
 *   DRBG       two seeds and a small read, as in hwentropy_core/known_answers.py
 *
 * What this does not protect against: a fault that comes later, or only now and then.
 */
#ifndef HWENTROPY_KNOWN_ANSWERS_H
#define HWENTROPY_KNOWN_ANSWERS_H

#include "drbg.h"

HWENTROPY_FN int hwentropy_chacha20_is_right(unsigned char stream[HWENTROPY_DRBG_BLOCK])
{
    static const unsigned char answer[HWENTROPY_CHACHA20_BLOCK] = {
        0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86,
        0xbd, 0x28, 0xbd, 0xd2, 0x19, 0xb8, 0xa0, 0x8d, 0xed, 0x1a, 0xa8, 0x36, 0xef, 0xcc,
        0x8b, 0x77, 0x0d, 0xc7, 0xda, 0x41, 0x59, 0x7c, 0x51, 0x57, 0x48, 0x8d, 0x77, 0x24,
        0xe0, 0x3f, 0xb8, 0xd8, 0x4a, 0x37, 0x6a, 0x43, 0xb8, 0xf4, 0x15, 0x18, 0xa1, 0x1c,
        0xc3, 0x87, 0xb6, 0x69, 0xb2, 0xee, 0x65, 0x86};
    static const unsigned char key[HWENTROPY_KEY_BYTES] = {0};
    hwentropy_keystream(key, stream, HWENTROPY_DRBG_BLOCK);
    return !memcmp(stream, answer, sizeof answer);
}

HWENTROPY_FN int hwentropy_hkdf_is_right(const unsigned char stream[HWENTROPY_DRBG_BLOCK])
{
    static const unsigned char answer[HWENTROPY_KEY_BYTES] = {
        0x83, 0x50, 0x3f, 0x3e, 0xf7, 0x9a, 0x58, 0x49, 0x36, 0xf2, 0xbc, 0x5f, 0xe1, 0x70,
        0x37, 0x01, 0xc4, 0x37, 0x24, 0x09, 0xdd, 0x5c, 0x90, 0x59, 0x01, 0x77, 0xf4, 0x5a,
        0x04, 0xdc, 0x58, 0xd8};
    static const char info[] = "hwentropy/1 known answer";
    static const unsigned char salt[HWENTROPY_KEY_BYTES] = {0};
    unsigned char out[HWENTROPY_KEY_BYTES];
    hwentropy_hkdf(out, sizeof out, salt, sizeof salt, stream, HWENTROPY_DRBG_BLOCK, info,
        sizeof info - 1);
    return !memcmp(out, answer, sizeof out);
}

/* The materials are (os, 00 01 ... 27), and the second time also one without label or data. */
HWENTROPY_FN int hwentropy_drbg_is_right(struct hwentropy_drbg *drbg)
{
    static const unsigned char answer[16] = {0x63, 0xa4, 0xbc, 0xe4, 0x4d, 0x87, 0x67, 0xc7,
        0x31, 0x38, 0x34, 0x64, 0x11, 0x5f, 0x01, 0x21};
    unsigned char ikm[10 + 40 + 8] = {0, 0, 0, 2, 'o', 's', 0, 0, 0, 40}, out[16];
    for (unsigned char i = 0; i < 40; i++)
        ikm[10 + i] = i;
    memset(drbg, 0, sizeof *drbg);
    hwentropy_drbg_reseed(drbg, "root", ikm, sizeof ikm - 8);
    hwentropy_drbg_reseed(drbg, "root", ikm, sizeof ikm);
    hwentropy_drbg_take(drbg, out, sizeof out);
    return !memcmp(out, answer, sizeof out);
}

/* Whether all of them are right.  `drbg` is the caller's memory for it, zeros afterwards. */
HWENTROPY_FN int hwentropy_computes_rightly(struct hwentropy_drbg *drbg)
{
    int right = hwentropy_chacha20_is_right(drbg->block) && hwentropy_hkdf_is_right(drbg->block)
        && hwentropy_drbg_is_right(drbg);
    memset(drbg, 0, sizeof *drbg);
    return right;
}

#endif
