/* The generator of docs/drbg.md, on memory that its owner provides.
 *
 * Fast key erasure: each block of keystream gives the next key first; what is
 * handed out is overwritten where it lay.
 *
 * What this does not do: lock, notice a fork, or end.  lease.h does.
 */
#ifndef HWENTROPY_DRBG_H
#define HWENTROPY_DRBG_H

#include "chacha20.h"
#include "sha512.h"

enum {
    HWENTROPY_DRBG_BLOCK = 4096,
    HWENTROPY_DRBG_SMALL = 1024, /* larger requests have a key of their own */
    HWENTROPY_DRBG_PURPOSE = 32  /* bytes of a purpose, at most */
};

/* All zeros: not seeded.  The bytes from `next` on are those not given out yet. */
struct hwentropy_drbg {
    unsigned char key[HWENTROPY_KEY_BYTES];
    unsigned char block[HWENTROPY_DRBG_BLOCK];
    size_t next;
    uint64_t reseeds;
};

/* Mix in seed material, encoded as docs/drbg.md says. */
HWENTROPY_FN void hwentropy_drbg_reseed(
    struct hwentropy_drbg *d, const char *purpose, const void *ikm, size_t size)
{
    static const char prefix[] = "hwentropy/1 seed ";
    unsigned char info[sizeof prefix + HWENTROPY_DRBG_PURPOSE + 8];
    size_t start = sizeof prefix - 1, length = strnlen(purpose, HWENTROPY_DRBG_PURPOSE);
    memcpy(info, prefix, start);
    memcpy(info + start, purpose, length);
    hwentropy_store64_be(info + start + length, d->reseeds);
    hwentropy_hkdf(
        d->key, sizeof d->key, d->key, sizeof d->key, ikm, size, info, start + length + 8);
    d->next = sizeof d->block;
    hwentropy_wipe(d->block, sizeof d->block);
    d->reseeds++;
}

HWENTROPY_FN void hwentropy_drbg_refill(struct hwentropy_drbg *d)
{
    d->next = sizeof d->block;
    hwentropy_keystream(d->key, d->block, sizeof d->block);
    memcpy(d->key, d->block, sizeof d->key);
    hwentropy_wipe(d->block, sizeof d->key);
    d->next = sizeof d->key;
}

/* At most HWENTROPY_DRBG_SMALL bytes of a generator that was seeded. */
HWENTROPY_FN void hwentropy_drbg_take(struct hwentropy_drbg *d, void *out, size_t size)
{
    if (size > sizeof d->block - d->next)
        hwentropy_drbg_refill(d);
    unsigned char *from = d->block + d->next;
    d->next += size;
    memcpy(out, from, size);
    hwentropy_wipe(from, size);
}

#endif
