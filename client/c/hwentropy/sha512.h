/* SHA-512 (FIPS 180-4), HMAC (RFC 2104) and HKDF (RFC 5869) with it.
 *
 * Small rather than fast: a lease needs it once in minutes.
 *
 * What this does not do: messages of 2^61 bytes and more, whose length in bits
 * takes more than 64 bits.
 */
#ifndef HWENTROPY_SHA512_H
#define HWENTROPY_SHA512_H

#include "base.h"

enum { HWENTROPY_SHA512_BYTES = 64, HWENTROPY_SHA512_BLOCK = 128 };

struct hwentropy_sha512 {
    uint64_t hash[8];
    uint64_t size; /* bytes taken so far */
    unsigned char block[HWENTROPY_SHA512_BLOCK];
};

/* FIPS 180-4 5.3.5: the fractions of the square roots of the first 8 primes. */
HWENTROPY_FN void hwentropy_sha512_begin(struct hwentropy_sha512 *s)
{
    static const uint64_t first[8] = {
        0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
        0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};
    memset(s, 0, sizeof *s);
    memcpy(s->hash, first, sizeof first);
}

/* FIPS 180-4 6.4.2; K: the fractions of the cube roots of the first 80 primes (4.2.3). */
HWENTROPY_FN void hwentropy_sha512_compress(uint64_t hash[8], const unsigned char *block)
{
    static const uint64_t k[80] = {
        0x428a2f98d728ae22, 0x7137449123ef65cd, 0xb5c0fbcfec4d3b2f, 0xe9b5dba58189dbbc,
        0x3956c25bf348b538, 0x59f111f1b605d019, 0x923f82a4af194f9b, 0xab1c5ed5da6d8118,
        0xd807aa98a3030242, 0x12835b0145706fbe, 0x243185be4ee4b28c, 0x550c7dc3d5ffb4e2,
        0x72be5d74f27b896f, 0x80deb1fe3b1696b1, 0x9bdc06a725c71235, 0xc19bf174cf692694,
        0xe49b69c19ef14ad2, 0xefbe4786384f25e3, 0x0fc19dc68b8cd5b5, 0x240ca1cc77ac9c65,
        0x2de92c6f592b0275, 0x4a7484aa6ea6e483, 0x5cb0a9dcbd41fbd4, 0x76f988da831153b5,
        0x983e5152ee66dfab, 0xa831c66d2db43210, 0xb00327c898fb213f, 0xbf597fc7beef0ee4,
        0xc6e00bf33da88fc2, 0xd5a79147930aa725, 0x06ca6351e003826f, 0x142929670a0e6e70,
        0x27b70a8546d22ffc, 0x2e1b21385c26c926, 0x4d2c6dfc5ac42aed, 0x53380d139d95b3df,
        0x650a73548baf63de, 0x766a0abb3c77b2a8, 0x81c2c92e47edaee6, 0x92722c851482353b,
        0xa2bfe8a14cf10364, 0xa81a664bbc423001, 0xc24b8b70d0f89791, 0xc76c51a30654be30,
        0xd192e819d6ef5218, 0xd69906245565a910, 0xf40e35855771202a, 0x106aa07032bbd1b8,
        0x19a4c116b8d2d0c8, 0x1e376c085141ab53, 0x2748774cdf8eeb99, 0x34b0bcb5e19b48a8,
        0x391c0cb3c5c95a63, 0x4ed8aa4ae3418acb, 0x5b9cca4f7763e373, 0x682e6ff3d6b2b8a3,
        0x748f82ee5defb2fc, 0x78a5636f43172f60, 0x84c87814a1f0ab72, 0x8cc702081a6439ec,
        0x90befffa23631e28, 0xa4506cebde82bde9, 0xbef9a3f7b2c67915, 0xc67178f2e372532b,
        0xca273eceea26619c, 0xd186b8c721c0c207, 0xeada7dd6cde0eb1e, 0xf57d4f7fee6ed178,
        0x06f067aa72176fba, 0x0a637dc5a2c898a6, 0x113f9804bef90dae, 0x1b710b35131c471b,
        0x28db77f523047d84, 0x32caab7b40c72493, 0x3c9ebe0a15c9bebc, 0x431d67c49c100d4c,
        0x4cc5d4becb3e42b6, 0x597f299cfc657e2a, 0x5fcb6fab3ad6faec, 0x6c44198c4a475817};
#define HWENTROPY_ROTATE64(x, n) ((x) >> (n) | (x) << (64 - (n)))
    uint64_t w[80], v[8];
    for (int t = 0; t < 16; t++)
        w[t] = hwentropy_load64_be(block + 8 * t);
    for (int t = 16; t < 80; t++) {
        uint64_t a = w[t - 15], b = w[t - 2];
        a = HWENTROPY_ROTATE64(a, 1) ^ HWENTROPY_ROTATE64(a, 8) ^ a >> 7;
        b = HWENTROPY_ROTATE64(b, 19) ^ HWENTROPY_ROTATE64(b, 61) ^ b >> 6;
        w[t] = b + w[t - 7] + a + w[t - 16];
    }
    memcpy(v, hash, sizeof v);
    for (int t = 0; t < 80; t++) {
        uint64_t a = v[0], e = v[4];
        uint64_t choose = (e & v[5]) ^ (~e & v[6]);
        uint64_t majority = (a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]);
        e = HWENTROPY_ROTATE64(e, 14) ^ HWENTROPY_ROTATE64(e, 18) ^ HWENTROPY_ROTATE64(e, 41);
        a = HWENTROPY_ROTATE64(a, 28) ^ HWENTROPY_ROTATE64(a, 34) ^ HWENTROPY_ROTATE64(a, 39);
        uint64_t one = v[7] + e + choose + k[t] + w[t], two = a + majority;
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += one;
        v[0] = one + two;
    }
#undef HWENTROPY_ROTATE64
    for (int i = 0; i < 8; i++)
        hash[i] += v[i];
    hwentropy_wipe(w, sizeof w);
    hwentropy_wipe(v, sizeof v);
}

HWENTROPY_FN void hwentropy_sha512_take(
    struct hwentropy_sha512 *s, const void *data, size_t size)
{
    const unsigned char *from = (const unsigned char *)data;
    while (size) {
        size_t used = (size_t)(s->size % HWENTROPY_SHA512_BLOCK);
        size_t part = hwentropy_least(size, HWENTROPY_SHA512_BLOCK - used);
        memcpy(s->block + used, from, part);
        s->size += part;
        from += part;
        size -= part;
        if (used + part == HWENTROPY_SHA512_BLOCK)
            hwentropy_sha512_compress(s->hash, s->block);
    }
}

/* Padding of FIPS 180-4 5.1.2.  Overwrites `s`. */
HWENTROPY_FN void hwentropy_sha512_end(
    struct hwentropy_sha512 *s, unsigned char out[HWENTROPY_SHA512_BYTES])
{
    static const unsigned char padding[HWENTROPY_SHA512_BLOCK] = {0x80};
    unsigned char bits[16] = {0};
    size_t used = (size_t)(s->size % HWENTROPY_SHA512_BLOCK);
    hwentropy_store64_be(bits + 8, s->size * 8);
    /* One bit, zeros, and 16 bytes of length up to the end of a block. */
    hwentropy_sha512_take(s, padding, (used < 112 ? 112 : 240) - used);
    hwentropy_sha512_take(s, bits, sizeof bits);
    for (int i = 0; i < 8; i++)
        hwentropy_store64_be(out + 8 * i, s->hash[i]);
    hwentropy_wipe(s, sizeof *s);
}

/* HMAC: `begin`, any number of `take` on `inner`, `end`. */
struct hwentropy_hmac {
    struct hwentropy_sha512 inner, outer;
};

HWENTROPY_FN void hwentropy_hmac_begin(struct hwentropy_hmac *h, const void *key, size_t size)
{
    unsigned char pad[HWENTROPY_SHA512_BLOCK] = {0};
    hwentropy_sha512_begin(&h->inner);
    hwentropy_sha512_begin(&h->outer);
    if (size > sizeof pad) {
        struct hwentropy_sha512 s;
        hwentropy_sha512_begin(&s);
        hwentropy_sha512_take(&s, key, size);
        hwentropy_sha512_end(&s, pad);
    } else if (size) {
        memcpy(pad, key, size);
    }
    for (size_t i = 0; i < sizeof pad; i++)
        pad[i] ^= 0x36;
    hwentropy_sha512_take(&h->inner, pad, sizeof pad);
    for (size_t i = 0; i < sizeof pad; i++)
        pad[i] ^= 0x36 ^ 0x5c;
    hwentropy_sha512_take(&h->outer, pad, sizeof pad);
    hwentropy_wipe(pad, sizeof pad);
}

/* Overwrites `h`. */
HWENTROPY_FN void hwentropy_hmac_end(
    struct hwentropy_hmac *h, unsigned char out[HWENTROPY_SHA512_BYTES])
{
    hwentropy_sha512_end(&h->inner, out);
    hwentropy_sha512_take(&h->outer, out, HWENTROPY_SHA512_BYTES);
    hwentropy_sha512_end(&h->outer, out);
}

/* HKDF (RFC 5869 2.2, 2.3) for up to 255 times 64 bytes of output; an empty salt counts
 * as zeros.  `out` may be where an input lies that RFC 5869 calls salt or IKM. */
HWENTROPY_FN void hwentropy_hkdf(unsigned char *out, size_t size, const void *salt,
    size_t salt_size, const void *ikm, size_t ikm_size, const void *info, size_t info_size)
{
    struct hwentropy_hmac h;
    unsigned char prk[HWENTROPY_SHA512_BYTES], t[HWENTROPY_SHA512_BYTES];
    hwentropy_hmac_begin(&h, salt, salt_size);
    hwentropy_sha512_take(&h.inner, ikm, ikm_size);
    hwentropy_hmac_end(&h, prk);
    for (unsigned char count = 1; size; count++) {
        size_t part = hwentropy_least(size, sizeof t);
        hwentropy_hmac_begin(&h, prk, sizeof prk);
        if (count > 1)
            hwentropy_sha512_take(&h.inner, t, sizeof t);
        hwentropy_sha512_take(&h.inner, info, info_size);
        hwentropy_sha512_take(&h.inner, &count, 1);
        hwentropy_hmac_end(&h, t);
        memcpy(out, t, part);
        out += part;
        size -= part;
    }
    hwentropy_wipe(prk, sizeof prk);
    hwentropy_wipe(t, sizeof t);
}

#endif
