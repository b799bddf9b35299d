/* The load client of `make bench`: one target, one size, one JSON line.
 *
 *   client [--size BYTES] [--connections N] [--depth N] [--requests N] [--seconds X]
 *          [--pause US] [--uid UID] TARGET
 *
 * TARGET is the path of a Unix socket that speaks the native protocol
 * (docs/protocol.md), or `getrandom`, or a device such as /dev/urandom (a path
 * that is not a socket is read).  Each connection has its own thread.  With
 * depth 1 a thread asks, waits for the whole reply, and asks again: a round
 * trip.  With depth D it keeps D requests on the way: bulk.
 *
 * With --pause it thinks between two requests, for up to twice so long; with --uid it is
 * another user, who needs no right to this file.
 *
 * Every request's time from its sending to the last byte of its reply is kept;
 * printed are exact percentiles (nearest rank), the count, and the seconds from
 * the first thread's start to the end of the last.  A reply that is not OK, of
 * another length or with another tag ends the run with exit code 1, so a fast
 * refusal can never pass for a fast answer.  `repeats` counts payloads that
 * begin with the same 16 bytes as the one before: 0 for any random source, and
 * all of them for the floor, which sends one buffer again and again.
 *
 * What it does not do: judge the bytes any further, or bind threads to CPUs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
    HEADER = 8,
    OP_READ = 1,
    MAX_DEPTH = 64,
    /* Payload bytes whose repetition is counted: 2^-128 by chance. */
    FINGERPRINT = 16,
    /* Times kept per thread, 4 bytes each: 1.2 s of the fastest 32 B getrandom. */
    MAX_REQUESTS = 1 << 22,
    /* A server that says nothing for so long has hung. */
    REPLY_SECONDS = 10,
    /* Discarded before the clock starts: page faults, the server's accept, a
       worker's first key.  As many requests as fit in 4 MiB, 2 to 200. */
    WARMUP_BYTES = 4 << 20,
    WARMUP_MAX = 200,
    WARMUP_MIN = 2,
};

struct settings {
    const char *target;
    size_t size;
    unsigned connections, depth;
    size_t requests;
    double seconds;
    unsigned pause; /* microseconds */
    unsigned uid;   /* 0: who it is anyhow */
};

struct worker {
    const struct settings *settings;
    pthread_barrier_t *start;
    pthread_t thread;
    int fd; /* -1: getrandom */
    int is_socket;
    unsigned char *frame; /* HEADER + size bytes */
    uint32_t *times;      /* nanoseconds */
    size_t done, repeats;
    unsigned char last[FINGERPRINT];
    uint16_t tag_sent, tag_expected;
    uint64_t begin, end;
};

static void die(const char *what, const char *why)
{
    fprintf(stderr, "bench client: %s: %s\n", what, why);
    exit(1);
}

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int open_target(const char *path, int *is_socket)
{
    struct stat info;
    *is_socket = 0;
    if (!strcmp(path, "getrandom"))
        return -1;
    if (stat(path, &info))
        die(path, strerror(errno));
    if (!S_ISSOCK(info.st_mode)) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            die(path, strerror(errno));
        return fd;
    }
    *is_socket = 1;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        die(path, "path too long for a Unix socket");
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address))
        die(path, strerror(errno));
    struct timeval patience = {.tv_sec = REPLY_SECONDS};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return fd;
}

/* Read until `want` bytes are there; an end, an error or silence is fatal. */
static void receive(struct worker *w, unsigned char *into, size_t want)
{
    size_t have = 0;
    while (have < want) {
        ssize_t got = recv(w->fd, into + have, want - have, MSG_WAITALL);
        if (got > 0) {
            have += (size_t)got;
        } else if (got == 0) {
            die(w->settings->target, "the server closed the connection");
        } else if (errno == EAGAIN) {
            if (have >= HEADER && into == w->frame && into[0] != 0) {
                char why[64];
                snprintf(why, sizeof why, "refused with status %d", into[0]);
                die(w->settings->target, why);
            }
            die(w->settings->target, "no reply in time");
        } else if (errno != EINTR) {
            die(w->settings->target, strerror(errno));
        }
    }
}

static void check_header(struct worker *w)
{
    const unsigned char *h = w->frame;
    uint32_t length = (uint32_t)h[4] << 24 | (uint32_t)h[5] << 16 | (uint32_t)h[6] << 8 | h[7];
    if (h[0] != 0) {
        char why[64];
        snprintf(why, sizeof why, "refused with status %d", h[0]);
        die(w->settings->target, why);
    }
    if ((h[2] << 8 | h[3]) != w->tag_expected)
        die(w->settings->target, "reply with the wrong tag");
    if (length != w->settings->size)
        die(w->settings->target, "reply of the wrong length");
    w->tag_expected++;
}

static void ask(struct worker *w, unsigned count)
{
    unsigned char requests[HEADER * MAX_DEPTH];
    uint32_t size = (uint32_t)w->settings->size;
    for (unsigned i = 0; i < count; i++) {
        uint16_t tag = w->tag_sent++;
        unsigned char request[HEADER] = {
            OP_READ, 0, (unsigned char)(tag >> 8), (unsigned char)tag,
            (unsigned char)(size >> 24), (unsigned char)(size >> 16),
            (unsigned char)(size >> 8), (unsigned char)size};
        memcpy(requests + i * HEADER, request, HEADER);
    }
    /* Requests are small and the server reads them: never a short send. */
    if (send(w->fd, requests, count * HEADER, MSG_NOSIGNAL) != (ssize_t)(count * HEADER))
        die(w->settings->target, strerror(errno));
}

static void note_payload(struct worker *w)
{
    const unsigned char *payload = w->frame + HEADER;
    if (w->settings->size < FINGERPRINT)
        return;
    w->repeats += !memcmp(w->last, payload, FINGERPRINT);
    memcpy(w->last, payload, FINGERPRINT);
}

/* One whole answer from the kernel. */
static void read_kernel(struct worker *w)
{
    size_t have = 0;
    while (have < w->settings->size) {
        unsigned char *into = w->frame + HEADER + have;
        size_t want = w->settings->size - have;
        ssize_t got = w->fd < 0 ? getrandom(into, want, 0) : read(w->fd, into, want);
        if (got > 0)
            have += (size_t)got;
        else if (got == 0)
            die(w->settings->target, "end of file");
        else if (errno != EINTR)
            die(w->settings->target, strerror(errno));
    }
}

static void warm_up(struct worker *w)
{
    size_t rounds = WARMUP_BYTES / w->settings->size;
    rounds = rounds > WARMUP_MAX ? WARMUP_MAX : rounds < WARMUP_MIN ? WARMUP_MIN : rounds;
    for (size_t i = 0; i < rounds; i++) {
        if (w->is_socket) {
            /* Header first, so that a refusal is known at once. */
            ask(w, 1);
            receive(w, w->frame, HEADER);
            check_header(w);
            receive(w, w->frame + HEADER, w->settings->size);
        } else {
            read_kernel(w);
        }
        note_payload(w);
    }
    w->repeats = 0;
}

/* Think for up to twice so long, in no step with anything else. */
static void rest(unsigned microseconds)
{
    static __thread unsigned state = 1;
    if (microseconds) {
        state = state * 1103515245u + 12345u;
        usleep((state >> 8) % (2 * microseconds));
    }
}

static void run_socket(struct worker *w)
{
    const struct settings *s = w->settings;
    uint64_t sent[MAX_DEPTH];
    size_t asked = s->depth < s->requests ? s->depth : s->requests;
    uint64_t begin = w->begin = now(), deadline = begin + (uint64_t)(s->seconds * 1e9);
    uint64_t t = begin;
    for (size_t i = 0; i < asked; i++)
        sent[i] = begin;
    ask(w, (unsigned)asked);
    while (w->done < asked) {
        receive(w, w->frame, HEADER + s->size);
        t = now();
        check_header(w);
        note_payload(w);
        uint64_t *slot = &sent[w->done % s->depth];
        w->times[w->done++] = (uint32_t)(t - *slot);
        if (asked < s->requests && t < deadline) {
            rest(s->pause);
            *slot = now();
            ask(w, 1);
            asked++;
        }
    }
    w->end = t;
}

static void run_kernel(struct worker *w)
{
    const struct settings *s = w->settings;
    uint64_t before = w->begin = now(), deadline = before + (uint64_t)(s->seconds * 1e9);
    do {
        read_kernel(w);
        uint64_t t = now();
        note_payload(w);
        w->times[w->done++] = (uint32_t)(t - before);
        before = now();
    } while (w->done < s->requests && before < deadline);
    w->end = before;
}

static void *run(void *argument)
{
    struct worker *w = argument;
    warm_up(w);
    pthread_barrier_wait(w->start);
    if (w->is_socket)
        run_socket(w);
    else
        run_kernel(w);
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Nearest rank: the smallest value that at least `permille` of them do not exceed. */
static uint32_t percentile(const uint32_t *sorted, size_t count, size_t permille)
{
    size_t rank = (count * permille + 999) / 1000;
    return sorted[rank ? rank - 1 : 0];
}

static void report(struct worker *workers, const struct settings *s)
{
    size_t total = 0, repeats = 0;
    /* Of the threads: the main one may be woken when they are done. */
    uint64_t begin = workers[0].begin, end = workers[0].end;
    for (unsigned i = 0; i < s->connections; i++) {
        total += workers[i].done;
        repeats += workers[i].repeats;
        begin = workers[i].begin < begin ? workers[i].begin : begin;
        end = workers[i].end > end ? workers[i].end : end;
    }
    uint32_t *times = malloc(total * sizeof *times);
    if (!times)
        die("times", strerror(errno));
    size_t at = 0;
    for (unsigned i = 0; i < s->connections; i++) {
        memcpy(times + at, workers[i].times, workers[i].done * sizeof *times);
        at += workers[i].done;
    }
    qsort(times, total, sizeof *times, ascending);
    printf("{\"client\": \"c\", \"size\": %zu, \"connections\": %u, \"depth\": %u, "
           "\"requests\": %zu, \"repeats\": %zu, \"seconds\": %.9f, "
           "\"p50_ns\": %u, \"p99_ns\": %u, \"p999_ns\": %u, \"max_ns\": %u}\n",
           s->size, s->connections, s->depth, total, repeats, (double)(end - begin) / 1e9,
           percentile(times, total, 500), percentile(times, total, 990),
           percentile(times, total, 999), times[total - 1]);
}

static void usage(void)
{
    fputs("usage: client [--size BYTES] [--connections N] [--depth N] [--requests N] "
          "[--seconds X] [--pause US] [--uid UID] SOCKET|DEVICE|getrandom\n", stderr);
    exit(2);
}

static struct settings parse(int argc, char **argv)
{
    static const struct option options[] = {
        {"size", 1, 0, 's'},     {"connections", 1, 0, 'c'}, {"depth", 1, 0, 'd'},
        {"requests", 1, 0, 'r'}, {"seconds", 1, 0, 't'},
        {"pause", 1, 0, 'p'},    {"uid", 1, 0, 'u'},     {0, 0, 0, 0}};
    struct settings s = {NULL, 32, 1, 1, MAX_REQUESTS, 1.0, 0, 0};
    for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (o) {
        case 's': s.size = strtoul(optarg, NULL, 10); break;
        case 'c': s.connections = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'd': s.depth = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'r': s.requests = strtoul(optarg, NULL, 10); break;
        case 't': s.seconds = strtod(optarg, NULL); break;
        case 'p': s.pause = (unsigned)strtoul(optarg, NULL, 10); break;
        case 'u': s.uid = (unsigned)strtoul(optarg, NULL, 10); break;
        default: usage();
        }
    }
    if (optind != argc - 1 || !s.size || s.size > 1 << 20 || !s.connections ||
        s.connections > 4096 || !s.depth || s.depth > MAX_DEPTH || !s.requests ||
        s.requests > MAX_REQUESTS || s.pause > 1000000 || !(s.seconds > 0 && s.seconds <= 4))
        usage(); /* 4 s: the longest time that fits the 32 bits of one latency */
    s.target = argv[optind];
    return s;
}

int main(int argc, char **argv)
{
    struct settings s = parse(argc, argv);
    pthread_barrier_t start;
    if (s.uid && (setgroups(0, NULL) || setgid(s.uid) || setuid(s.uid)))
        die("--uid", strerror(errno));
    struct worker *workers = calloc(s.connections, sizeof *workers);
    if (!workers || pthread_barrier_init(&start, NULL, s.connections + 1))
        die("setup", strerror(errno));
    for (unsigned i = 0; i < s.connections; i++) {
        struct worker *w = &workers[i];
        w->settings = &s;
        w->start = &start;
        w->frame = malloc(HEADER + s.size);
        w->times = malloc(s.requests * sizeof *w->times);
        if (!w->frame || !w->times)
            die("setup", strerror(errno));
        w->fd = open_target(s.target, &w->is_socket);
        int error = pthread_create(&w->thread, NULL, run, w);
        if (error)
            die("thread", strerror(error));
    }
    pthread_barrier_wait(&start);
    for (unsigned i = 0; i < s.connections; i++)
        pthread_join(workers[i].thread, NULL);
    report(workers, &s);
    return 0;
}
