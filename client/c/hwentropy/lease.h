/* The lease: what the kernel wipes on fork, the generation page, and op LEASE.
 *
 * What this does not protect against: who reads the process's memory (a debugger,
 * swap) while a lease lasts; a virtual machine that is resumed twice from one
 * snapshot, until the daemon there has a sign of it (docs/drbg.md) or the lease ends.
 */
#ifndef HWENTROPY_LEASE_H
#define HWENTROPY_LEASE_H

#include "connection.h"
#include "drbg.h"

#include <fcntl.h>

/* linux/fcntl.h; older C libraries do not name them. */
#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#endif
#ifndef MADV_WIPEONFORK
#define MADV_WIPEONFORK 18
#endif

enum {
    HWENTROPY_PAGE_BYTES = 4096,
    HWENTROPY_PAGE_EPOCH = 3, /* the word that moves when leases have to be renewed */
    /* The word with the time (HWENTROPY_CLOCK) until which the service serves if its
       supervisor says nothing more, and so until which leases are good; 0: none. */
    HWENTROPY_PAGE_SERVES_UNTIL = 5,
    /* F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_FUTURE_WRITE: it keeps its size, so
       that no reader meets SIGBUS, and nobody but the daemon writes it. */
    HWENTROPY_PAGE_SEALS = 0x01 | 0x02 | 0x04 | 0x10,
    HWENTROPY_LEASE_BYTES = 56,
    HWENTROPY_BYTES_AT = 8,
    HWENTROPY_SECONDS_AT = 16,
    HWENTROPY_SEED_AT = 24,
    /* Requests until the epoch stands still between one and its reply.  It moves once
       a reseed, seconds apart; a daemon whose epoch moves with each request is broken. */
    HWENTROPY_LEASE_TRIES = 16
};

#define HWENTROPY_PAGE_MAGIC UINT64_C(0x314750544E455748)

/* What a fork wipes to zeros in the child: a free lock, no owner, no lease. */
struct hwentropy_secret {
    uint32_t lock;
    uint32_t owner; /* 0: memory that is new or was wiped; else who took it into use */
    uint64_t left;  /* bytes that the lease may still give; 0: there is no lease */
    uint64_t epoch; /* what the page said before the lease was asked for */
    int64_t ends;   /* HWENTROPY_CLOCK */
    struct hwentropy_drbg drbg;
};

/* NULL, with errno, where the kernel cannot promise what a lease needs. */
HWENTROPY_FN struct hwentropy_secret *hwentropy_new_secret(void)
{
    size_t size = sizeof(struct hwentropy_secret);
    void *memory
        = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    /* An emulator that says yes to any advice, also to one that there is not, promises
     * nothing by it. */
    int pretends = !madvise(memory, size, -1);
    if (pretends)
        errno = ENOSYS;
    if (pretends || madvise(memory, size, MADV_WIPEONFORK)
        || madvise(memory, size, MADV_DONTDUMP)) {
        int error = errno;
        (void)munmap(memory, size);
        errno = error;
        return NULL;
    }
    return (struct hwentropy_secret *)memory;
}

HWENTROPY_FN void hwentropy_free_secret(struct hwentropy_secret *secret)
{
    hwentropy_wipe(secret, sizeof *secret);
    (void)munmap(secret, sizeof *secret);
}

/* Map the page behind `fd`, which stays the caller's. */
HWENTROPY_FN int hwentropy_map_page(int fd, uint64_t **page)
{
    struct stat info;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & HWENTROPY_PAGE_SEALS) != HWENTROPY_PAGE_SEALS)
        return HWENTROPY_PROTOCOL;
    if (fstat(fd, &info) || info.st_size < HWENTROPY_PAGE_BYTES)
        return HWENTROPY_PROTOCOL;
    void *memory = mmap(NULL, HWENTROPY_PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return HWENTROPY_SYSTEM;
    uint64_t *words = (uint64_t *)memory;
    if (words[0] != HWENTROPY_PAGE_MAGIC) {
        (void)munmap(memory, HWENTROPY_PAGE_BYTES);
        return HWENTROPY_PROTOCOL;
    }
    *page = words;
    return HWENTROPY_OK;
}

HWENTROPY_FN void hwentropy_unmap_page(uint64_t **page)
{
    if (*page)
        (void)munmap(*page, HWENTROPY_PAGE_BYTES);
    *page = NULL;
}

HWENTROPY_FN uint64_t hwentropy_page_epoch(const uint64_t *page)
{
    return __atomic_load_n(page + HWENTROPY_PAGE_EPOCH, __ATOMIC_ACQUIRE);
}

/* Whether the service serves, by what its supervisor said last. */
HWENTROPY_FN int hwentropy_page_serves(const uint64_t *page, int64_t now)
{
    uint64_t until = __atomic_load_n(page + HWENTROPY_PAGE_SERVES_UNTIL, __ATOMIC_RELAXED);
    return !until || (uint64_t)now < until;
}

/* One LEASE on an open connection: its payload, and the page if that came with it. */
HWENTROPY_FN int hwentropy_ask_lease(struct hwentropy_connection *c, unsigned flags,
    unsigned char payload[HWENTROPY_LEASE_BYTES], uint64_t **page)
{
    unsigned char request[HWENTROPY_HEADER_BYTES];
    struct hwentropy_reply reply;
    memset(&reply, 0, sizeof reply);
    reply.fd = -1;
    c->answered = 0;
    hwentropy_put_request(c, request, HWENTROPY_OP_LEASE, flags, 0);
    int status = hwentropy_send(c, request, sizeof request);
    if (!status)
        status = hwentropy_take_reply(c, HWENTROPY_DEGRADED | HWENTROPY_PAGE, payload,
            HWENTROPY_LEASE_BYTES, &reply);
    int in_order = hwentropy_in_order(status, &reply);
    if (status && status <= HWENTROPY_BAD_REQUEST && reply.fd >= 0) {
        status = HWENTROPY_PROTOCOL; /* a page comes with a lease only */
        in_order = 0;
    } else if (!status) {
        int announced = (reply.flags & HWENTROPY_PAGE) != 0;
        /* The page comes with the first lease of a connection and with no other; a lease
         * that is over before its first byte would be asked for again and again. */
        if (announced == c->paged || (!announced && reply.fd >= 0)
            || !hwentropy_load64_be(payload + HWENTROPY_BYTES_AT)
            || !hwentropy_load32_be(payload + HWENTROPY_SECONDS_AT))
            status = HWENTROPY_PROTOCOL;
        else if (announced && reply.fd < 0)
            status = reply.truncated ? HWENTROPY_SYSTEM : HWENTROPY_PROTOCOL;
        else if (announced)
            status = hwentropy_map_page(reply.fd, page);
        if (status == HWENTROPY_SYSTEM && reply.truncated)
            errno = EMFILE;
        in_order = !status;
        c->paged |= announced;
    }
    int error = errno;
    if (reply.fd >= 0)
        (void)close(reply.fd);
    if (!in_order)
        hwentropy_disconnect(c);
    errno = error;
    return status;
}

/* Take a granted lease into use: docs/drbg.md, one material with the label `parent`.
 * `asked` is when the request was sent.  Overwrites the payload. */
HWENTROPY_FN void hwentropy_start_lease(struct hwentropy_secret *secret,
    unsigned char payload[HWENTROPY_LEASE_BYTES], uint64_t epoch, int64_t asked)
{
    static const unsigned char head[] = {0, 0, 0, 6, 'p', 'a', 'r', 'e', 'n', 't', 0, 0, 0, 32};
    unsigned char ikm[sizeof head + HWENTROPY_KEY_BYTES];
    memcpy(ikm, head, sizeof head);
    memcpy(ikm + sizeof head, payload + HWENTROPY_SEED_AT, HWENTROPY_KEY_BYTES);
    hwentropy_drbg_reseed(&secret->drbg, "lease", ikm, sizeof ikm);
    secret->epoch = epoch;
    secret->ends = asked + (int64_t)hwentropy_load32_be(payload + HWENTROPY_SECONDS_AT) * 1000000000;
    secret->left = hwentropy_load64_be(payload + HWENTROPY_BYTES_AT);
    hwentropy_wipe(payload, HWENTROPY_LEASE_BYTES);
    hwentropy_wipe(ikm, sizeof ikm);
}

#endif
