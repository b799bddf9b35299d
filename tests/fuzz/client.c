/* What the C client makes of a daemon that sends anything: one input, one call.
 *
 *     byte 0   bits 0-1 mode; bit 2: the page comes with the bytes; bit 3: it is not sealed
 *     byte 1   the page's epoch; byte 2 and 3: how much is asked for
 *     rest     what the daemon sends before it hangs up
 *
 * Each input runs twice, the second time with one byte a receive, and both have to give
 * the same: all bytes or zeros.  With which error they fail may differ: bytes that come
 * together with a refusal end the connection, and later ones are not seen.  For libFuzzer, or with STDIN defined for a parent that
 * writes inputs with their length and reads a byte for each.
 */
#define _GNU_SOURCE
#include <time.h>

/* A pause after OVER_QUOTA tests nothing here, and a daemon may say that all day. */
#define clock_nanosleep(clock, flags, wanted, left) ((void)(wanted), 0)

#include "hwentropy/base.h"

#include <sys/socket.h>

/* One byte at a time, whatever the kernel has. */
static int bytewise;

static ssize_t fuzz_recvmsg(int fd, struct msghdr *message, int flags)
{
    struct iovec one;
    struct iovec *parts = message->msg_iov;
    size_t count = message->msg_iovlen, at = 0;
    if (bytewise) {
        while (at + 1 < count && !parts[at].iov_len)
            at++;
        one.iov_base = parts[at].iov_base;
        one.iov_len = 1;
        message->msg_iov = &one;
        message->msg_iovlen = 1;
    }
    ssize_t got = recvmsg(fd, message, flags);
    message->msg_iov = parts;
    message->msg_iovlen = count;
    return got;
}

#define recvmsg fuzz_recvmsg
#include "hwentropy.h"
#undef recvmsg

#include <stdio.h>

#define MOST 4096

static void fail(const char *what)
{
    fprintf(stderr, "%s\n", what);
    abort();
}

static int page_fd(unsigned char epoch, int sealed)
{
    uint64_t words[4] = {HWENTROPY_PAGE_MAGIC, 7, 1, epoch};
    int fd = memfd_create("fuzz", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || write(fd, words, sizeof words) != (ssize_t)sizeof words
        || ftruncate(fd, HWENTROPY_PAGE_BYTES)
        || fcntl(fd, F_ADD_SEALS, sealed ? HWENTROPY_PAGE_SEALS : F_SEAL_SHRINK))
        fail("no page");
    return fd;
}

static void send_all(int to, const uint8_t *data, size_t size, int fd)
{
    union {
        struct cmsghdr header;
        unsigned char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec part;
    struct msghdr message;
    part.iov_base = (void *)(uintptr_t)data;
    part.iov_len = size;
    memset(&message, 0, sizeof message);
    memset(&control, 0, sizeof control);
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control.room;
        control.header.cmsg_level = SOL_SOCKET;
        control.header.cmsg_type = SCM_RIGHTS;
        control.header.cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    if (size && sendmsg(to, &message, MSG_NOSIGNAL) != (ssize_t)size)
        fail("not sent");
    if (shutdown(to, SHUT_WR))
        fail("no shutdown");
}

static int call(const uint8_t *data, size_t size, unsigned char *out, size_t wanted)
{
    struct hwentropy_options options;
    struct stat info;
    hwentropy_client *client;
    int pair[2], page = data[0] & 4 ? page_fd(data[1], !(data[0] & 8)) : -1;
    memset(&options, 0, sizeof options);
    options.path = "/nowhere/entropy.sock";
    options.mode = (enum hwentropy_mode)((data[0] & 3) % 3);
    if (hwentropy_open(&client, &options) || socketpair(AF_UNIX, SOCK_STREAM, 0, pair)
        || fstat(pair[0], &info))
        fail("no client");
    /* As hwentropy_connect leaves it. */
    client->secret->owner = client->connection.ours = client->owners = 1;
    client->connection.fd = pair[0];
    client->connection.device = info.st_dev;
    client->connection.inode = info.st_ino;
    send_all(pair[1], data + 4, size - 4, page);
    memset(out, 0xAA, wanted);
    int status = hwentropy_fill(client, out, wanted);
    if (hwentropy_not_live(client) && options.mode != HWENTROPY_PREDICTION_RESISTANT)
        fail("a mark that was not asked for");
    hwentropy_close(client);
    (void)close(pair[1]);
    if (page >= 0)
        (void)close(page);
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static unsigned char whole[MOST + 1], parts[MOST + 1];
    if (size < 4)
        return 0;
    size_t wanted = 1 + ((size_t)data[2] << 8 | data[3]) % MOST;
    bytewise = 0;
    int status = call(data, size, whole, wanted);
    bytewise = 1;
    if (!call(data, size, parts, wanted) != !status || memcmp(whole, parts, wanted))
        fail("another result byte by byte");
    if (status > HWENTROPY_BAD_REQUEST && (status < HWENTROPY_NO_DAEMON || status > HWENTROPY_SYSTEM))
        fail("an unknown outcome");
    for (size_t at = 0; status && at < wanted; at++)
        if (whole[at])
            fail("bytes of a call that failed");
    return 0;
}

#ifdef STDIN
int main(void)
{
    uint32_t size;
    while (fread(&size, sizeof size, 1, stdin) == 1) {
        /* Of its own size, so that the sanitizer sees a read beyond the end. */
        uint8_t *input = (uint8_t *)malloc(size ? size : 1);
        if (!input || fread(input, 1, size, stdin) != size)
            fail("no input");
        (void)LLVMFuzzerTestOneInput(input, size);
        free(input);
        if (putchar('.') == EOF || fflush(stdout))
            fail("nobody listens");
    }
    return 0;
}
#endif
