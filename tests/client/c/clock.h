/* A clock that the tests put forward: include it before the client's headers. */
#ifndef PROBE_CLOCK_H
#define PROBE_CLOCK_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdint.h>
#include <time.h>

static int64_t probe_ahead; /* nanoseconds */

static int64_t probe_clock(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec + probe_ahead;
}

/* Nothing waits. */
__attribute__((unused)) static void probe_pause(int64_t nanoseconds)
{
    probe_ahead += nanoseconds;
}

#define HWENTROPY_CLOCK probe_clock
#define HWENTROPY_PAUSE probe_pause
#endif
