/* What the tests ask a client to do, a line each on standard input, a line back.
 *
 *   open MODE TIMEOUT_MS BLOCK PATH   MODE 0 lease, 1 direct, 2 prediction resistant;
 *                                     PATH - is the default; replaces the client
 *   fill N        `ok HEX`, or `error KIND MESSAGE`, or `broken ...` where bytes beside
 *                 the buffer were touched or an error left something in it
 *   degraded      `ok 0` or `ok 1`
 *   not_live      the same
 *   fork N        fill N in a child, then N here: `ok CHILD PARENT`
 *   interrupt N   fork in a signal's handler in the middle of fill N; the first and last
 *                 16 bytes of the child's and the parent's: `ok CHILD PARENT`
 *   threads T N   T threads, each filling N bytes in pieces of 16: `ok HEX`
 *   advance S     put the client's clock S seconds forward
 *   alarm MS      from now on be interrupted every MS milliseconds of a fill, 0: no longer
 *   steal FILE    put FILE, or with - another socket, under the number of the client's socket
 *   user UID      become this user as far as the effective user id says
 *
 * Whoever includes this defines what is declared first.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

/* NULL, or what went wrong: "KIND MESSAGE", good until the thread's next call. */
static const char *probe_open(unsigned mode, unsigned timeout_ms, int block, const char *path);
static const char *probe_fill(void *out, size_t size);
static int probe_degraded(void);
static int probe_not_live(void);
/* Commands of one language only; 0: there is no such one. */
static int probe_other(const char *line);

enum { GUARD = 8, MAX_LINE = 512 };

static unsigned alarm_ms;

static void print_hex(const unsigned char *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        putchar(digits[data[i] >> 4]);
        putchar(digits[data[i] & 15]);
    }
}

static int all_are(const unsigned char *data, size_t size, unsigned char value)
{
    while (size && data[size - 1] == value)
        size--;
    return size == 0;
}

static unsigned char *allocate(size_t size)
{
    unsigned char *memory = (unsigned char *)malloc(size);
    if (!memory)
        abort();
    return memory;
}

static void do_nothing(int number)
{
    (void)number;
}

static void every(unsigned microseconds, void (*handler)(int), int flags)
{
    struct sigaction action;
    struct itimerval timer;
    memset(&action, 0, sizeof action);
    action.sa_flags = flags;
    memset(&timer, 0, sizeof timer);
    action.sa_handler = handler;
    timer.it_interval.tv_sec = timer.it_value.tv_sec = microseconds / 1000000;
    timer.it_interval.tv_usec = timer.it_value.tv_usec = microseconds % 1000000;
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &timer, NULL);
}

static void fill(size_t size)
{
    unsigned char *memory = allocate(size + 2 * GUARD);
    memset(memory, 0xaa, size + 2 * GUARD);
    every(1000 * alarm_ms, do_nothing, 0); /* no SA_RESTART */
    const char *wrong = probe_fill(memory + GUARD, size);
    every(0, do_nothing, 0);
    if (!all_are(memory, GUARD, 0xaa) || !all_are(memory + GUARD + size, GUARD, 0xaa)) {
        printf("broken: bytes outside the buffer");
    } else if (!wrong) {
        printf("ok ");
        print_hex(memory + GUARD, size);
    } else if (!all_are(memory + GUARD, size, 0)) {
        printf("broken: not zeros after %s", wrong);
    } else {
        printf("error %s", wrong);
    }
    putchar('\n');
    free(memory);
}

/* In the child, send the last `shown` bytes of what was filled to the parent. */
static void child_fill(int pipe_end, size_t size, size_t shown)
{
    unsigned char *memory = allocate(size);
    const char *wrong = probe_fill(memory, size);
    if (wrong) {
        fprintf(stderr, "%s\n", wrong);
        _exit(1);
    }
    if (write(pipe_end, memory + size - shown, shown) != (ssize_t)shown)
        _exit(1);
    free(memory);
    _exit(0);
}

/* What a child sent, and its end. */
static unsigned char *child_result(pid_t child, int pipe_end, size_t shown)
{
    unsigned char *theirs = allocate(shown);
    size_t have = 0;
    ssize_t got;
    int code;
    while (have < shown && (got = read(pipe_end, theirs + have, shown - have)) != 0)
        have += got > 0 ? (size_t)got : 0;
    while (waitpid(child, &code, 0) < 0 && errno == EINTR) { }
    if (code || have < shown)
        abort();
    return theirs;
}

static void print_pair(
    const unsigned char *theirs, const char *wrong, const unsigned char *mine, size_t shown)
{
    if (wrong) {
        printf("broken: %s\n", wrong);
    } else {
        printf("ok ");
        print_hex(theirs, shown);
        putchar(' ');
        print_hex(mine, shown);
        putchar('\n');
    }
}

static void fork_and_fill(size_t size)
{
    int ends[2];
    unsigned char *memory = allocate(size);
    if (pipe(ends))
        abort();
    fflush(stdout);
    pid_t child = fork();
    if (!child)
        child_fill(ends[1], size, size);
    close(ends[1]);
    unsigned char *theirs = child_result(child, ends[0], size);
    print_pair(theirs, probe_fill(memory, size), memory, size);
    close(ends[0]);
    free(theirs);
    free(memory);
}

static volatile sig_atomic_t handled;

static void fork_in_handler(int number)
{
    (void)number;
    if (!handled)
        handled = 1 + (int)fork();
}

static void interrupt_and_fill(size_t size)
{
    enum { SHOWN = 32 };
    int ends[2];
    unsigned char *memory = allocate(size);
    memset(memory, 0, size); /* its pages are there: the time is the generator's */
    if (probe_fill(memory, 1) || pipe(ends))
        abort();
    fflush(stdout);
    handled = 0;
    every(2000, fork_in_handler, SA_RESTART);
    const char *wrong = probe_fill(memory, size);
    int when = handled;
    every(0, do_nothing, 0);
    memcpy(memory + SHOWN / 2, memory + size - SHOWN / 2, SHOWN / 2);
    if (when == 1) {
        if (wrong || write(ends[1], memory, SHOWN) != SHOWN)
            _exit(1);
        _exit(0);
    }
    close(ends[1]);
    if (!when) {
        printf("broken: too fast to be interrupted\n");
    } else {
        unsigned char *theirs = child_result(when - 1, ends[0], SHOWN);
        print_pair(theirs, wrong, memory, SHOWN);
        free(theirs);
    }
    close(ends[0]);
    free(memory);
}

struct share {
    pthread_t thread;
    unsigned char *memory;
    size_t size;
    int failed;
};

static void *fill_share(void *argument)
{
    struct share *share = (struct share *)argument;
    for (size_t i = 0; i < share->size; i += 16)
        share->failed |= probe_fill(share->memory + i, 16) != NULL;
    return NULL;
}

static void fill_in_threads(unsigned count, size_t size)
{
    enum { MOST = 64 };
    struct share shares[MOST];
    unsigned char *memory = allocate(count * size);
    int failed = 0;
    for (unsigned i = 0; i < count && i < MOST; i++) {
        shares[i].memory = memory + i * size;
        shares[i].size = size;
        shares[i].failed = 0;
        if (pthread_create(&shares[i].thread, NULL, fill_share, &shares[i]))
            abort();
    }
    for (unsigned i = 0; i < count && i < MOST; i++) {
        pthread_join(shares[i].thread, NULL);
        failed |= shares[i].failed;
    }
    printf(failed ? "broken: a thread failed" : "ok ");
    print_hex(memory, failed ? 0 : count * size);
    putchar('\n');
    free(memory);
}

static void steal(const char *file)
{
    struct stat info;
    int ends[2] = {-1, -1}, number = 3;
    while (number < 64 && (fstat(number, &info) || !S_ISSOCK(info.st_mode)))
        number++;
    if (strcmp(file, "-"))
        ends[0] = open(file, O_RDWR | O_CLOEXEC);
    else if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
        abort();
    if (number == 64 || ends[0] < 0 || dup2(ends[0], number) < 0) {
        printf("broken: no socket or no file\n");
        return;
    }
    close(ends[0]);
    printf("ok %d\n", number);
}

/* And be dumpable, as before: the sanitizer that looks for leaks has to look. */
static int become(uid_t user)
{
    return seteuid(user) || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static int common_command(const char *line)
{
    unsigned a, b;
    int block;
    size_t size;
    char text[MAX_LINE];
    if (sscanf(line, "open %u %u %d %511s", &a, &b, &block, text) == 4) {
        const char *wrong = probe_open(a, b, block, strcmp(text, "-") ? text : NULL);
        printf("%s %s\n", wrong ? "error" : "ok", wrong ? wrong : "");
    } else if (sscanf(line, "fill %zu", &size) == 1) {
        fill(size);
    } else if (!strcmp(line, "degraded")) {
        printf("ok %d\n", probe_degraded());
    } else if (!strcmp(line, "not_live")) {
        printf("ok %d\n", probe_not_live());
    } else if (sscanf(line, "fork %zu", &size) == 1) {
        fork_and_fill(size);
    } else if (sscanf(line, "interrupt %zu", &size) == 1) {
        interrupt_and_fill(size);
    } else if (sscanf(line, "threads %u %zu", &a, &size) == 2) {
        fill_in_threads(a, size);
    } else if (sscanf(line, "advance %u", &a) == 1) {
        probe_ahead += (int64_t)a * 1000000000;
        printf("ok\n");
    } else if (sscanf(line, "alarm %u", &a) == 1) {
        alarm_ms = a;
        printf("ok\n");
    } else if (sscanf(line, "steal %511s", text) == 1) {
        steal(text);
    } else if (sscanf(line, "user %u", &a) == 1) {
        printf("%s\n", become((uid_t)a) ? "broken: seteuid" : "ok");
    } else {
        return 0;
    }
    return 1;
}

int main(void)
{
    char line[MAX_LINE];
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!common_command(line) && !probe_other(line))
            printf("broken: no such command\n");
        fflush(stdout);
    }
    probe_open(0, 0, 1, NULL); /* closes what was open */
    return geteuid() == getuid() ? 0 : become(getuid());
}
