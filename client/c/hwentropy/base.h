/* What the other headers share: outcomes, byte order, overwriting, clock, lock.
 *
 * Part of hwentropy.h, C99 and C++17.  Needs Linux, a 64-bit machine of either
 * byte order, and GCC's __atomic builtins (gcc, clang).
 *
 * What this does not protect against: copies that the compiler leaves in
 * registers and in spilled temporaries.
 */
#ifndef HWENTROPY_BASE_H
#define HWENTROPY_BASE_H

/* MAP_ANONYMOUS, madvise and CLOCK_BOOTTIME are beyond what -std=c99 shows. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if !defined(__linux__) || !defined(__LP64__)
#error "hwentropy needs 64-bit Linux"
#endif
#if !defined(MAP_ANONYMOUS) || !defined(CLOCK_BOOTTIME)
#error "include hwentropy.h before any other header, or compile with -D_GNU_SOURCE"
#endif

/* In C++ `inline`, so that inline functions of several translation units may call
 * these (one definition rule); in C each translation unit has its own. */
#ifdef __cplusplus
#define HWENTROPY_FN inline
#define HWENTROPY_APART __attribute__((noinline)) inline
#else
#define HWENTROPY_FN static inline
#define HWENTROPY_APART __attribute__((noinline, unused)) static
#endif

/* How a call ended.  1 to 6 are the statuses of docs/protocol.md. */
enum hwentropy_status {
    HWENTROPY_OK = 0,
    HWENTROPY_NOT_SEEDED = 1,
    HWENTROPY_TOO_LONG = 2,
    HWENTROPY_NOT_PERMITTED = 3,
    HWENTROPY_OVER_QUOTA = 4,
    HWENTROPY_FAILED_CLOSED = 5,
    HWENTROPY_BAD_REQUEST = 6,
    HWENTROPY_NO_DAEMON = 16, /* nobody answers at the socket */
    HWENTROPY_LOST = 17,      /* the connection ended before the reply was complete */
    HWENTROPY_NO_ACCESS = 18, /* the socket's mode keeps this user out */
    HWENTROPY_PATH = 19,      /* the socket's path is too long for one */
    HWENTROPY_TIMEOUT = 20,   /* longer than the caller's timeout */
    HWENTROPY_PROTOCOL = 21,  /* the daemon sent what the protocol does not allow */
    HWENTROPY_SYSTEM = 22,    /* a system call failed: see errno */
    HWENTROPY_WRONG = 23      /* this machine or this build computes wrongly */
};

HWENTROPY_FN void hwentropy_store32_be(unsigned char *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (unsigned char)(value >> (24 - 8 * i));
}

HWENTROPY_FN uint32_t hwentropy_load32_be(const unsigned char *from)
{
    uint32_t value = 0;
    for (int i = 0; i < 4; i++)
        value = value << 8 | from[i];
    return value;
}

HWENTROPY_FN void hwentropy_store64_be(unsigned char *to, uint64_t value)
{
    for (int i = 0; i < 8; i++)
        to[i] = (unsigned char)(value >> (56 - 8 * i));
}

HWENTROPY_FN uint64_t hwentropy_load64_be(const unsigned char *from)
{
    uint64_t value = 0;
    for (int i = 0; i < 8; i++)
        value = value << 8 | from[i];
    return value;
}

/* The word whose bytes in memory are those of `value` in little-endian order. */
HWENTROPY_FN uint32_t hwentropy_le32(uint32_t value)
{
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    return __builtin_bswap32(value);
#else
    return value;
#endif
}

HWENTROPY_FN size_t hwentropy_least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Overwrite with zeros.  The empty statement may look at the memory, for all the
 * compiler knows, so the stores before it are made. */
HWENTROPY_FN void hwentropy_wipe(void *memory, size_t size)
{
    memset(memory, 0, size);
    __asm__ __volatile__("" : : "r"(memory) : "memory");
}

/* Nanoseconds since the machine started, suspended time included: a lease has run
 * out when a laptop wakes up.  Tests define their own. */
#ifndef HWENTROPY_CLOCK
HWENTROPY_FN int64_t hwentropy_boottime(void)
{
    struct timespec now;
    (void)clock_gettime(CLOCK_BOOTTIME, &now); /* cannot fail: Linux has it since 2.6.39 */
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
#define HWENTROPY_CLOCK hwentropy_boottime
#endif

/* Wait so many nanoseconds, whatever signals come.  Tests define their own. */
#ifndef HWENTROPY_PAUSE
HWENTROPY_FN void hwentropy_pause(int64_t nanoseconds)
{
    struct timespec left;
    left.tv_sec = nanoseconds / 1000000000;
    left.tv_nsec = nanoseconds % 1000000000;
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &left, &left) == EINTR) { }
}
#define HWENTROPY_PAUSE hwentropy_pause
#endif

/* The pauses of one call that is over quota.  All zeros: it was not refused yet. */
struct hwentropy_backoff {
    int64_t ends; /* HWENTROPY_CLOCK: when to give up */
    int64_t step;
};

/* Pause before asking again; 0 at once where that would not end by `deadline` (0: none).
 * Pauses of 10 ms (fifty round trips), doubling to 1 s (a share counts per second), each
 * drawn out by chance to between half and the whole of its length, so that many clients
 * which were refused at once do not come back at once: what the clock shows below a
 * microsecond is chance enough, and no secret.  Without a deadline it gives up after 30 s,
 * a third of what systemd allows a service for its start (DefaultTimeoutStartSec). */
HWENTROPY_FN int hwentropy_back_off(struct hwentropy_backoff *backoff, int64_t deadline)
{
    int64_t now = HWENTROPY_CLOCK(), pause;
    if (!backoff->step) {
        backoff->step = 10000000;
        backoff->ends = deadline ? deadline : now + INT64_C(30000000000);
    }
    pause = backoff->step / 2 + backoff->step / 2000 * (now % 1000);
    backoff->step = backoff->step < 500000000 ? 2 * backoff->step : 1000000000;
    if (now + pause >= backoff->ends)
        return 0;
    HWENTROPY_PAUSE(pause);
    return 1;
}

/* A lock that is free where its memory is zero: unlike a pthread_mutex_t it may lie
 * in memory that a fork wipes, so a child never finds it held by a thread that it
 * does not have.  0 free, 1 held, 2 held and perhaps waited for (U. Drepper,
 * "Futexes Are Tricky", 2011, section 5).  `deadline` as HWENTROPY_CLOCK, 0: none. */
HWENTROPY_FN int hwentropy_lock(uint32_t *word, int64_t deadline)
{
    uint32_t seen = 0;
    if (__atomic_compare_exchange_n(word, &seen, 1, 0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
        return HWENTROPY_OK;
    while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE) != 0) {
        struct timespec left, *patience = NULL;
        if (deadline) {
            int64_t rest = deadline - HWENTROPY_CLOCK();
            if (rest <= 0)
                return HWENTROPY_TIMEOUT;
            left.tv_sec = rest / 1000000000;
            left.tv_nsec = rest % 1000000000;
            patience = &left;
        }
        (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 2, patience, NULL, 0);
    }
    return HWENTROPY_OK;
}

HWENTROPY_FN void hwentropy_unlock(uint32_t *word)
{
    if (__atomic_exchange_n(word, 0, __ATOMIC_RELEASE) == 2)
        (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

#endif
