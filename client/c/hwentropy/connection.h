/* One connection to the daemon's native socket: docs/protocol.md as system calls.
 *
 * Every wait ends at `deadline`; a daemon that is gone is an outcome, not a
 * SIGPIPE; an interrupted call goes on.  Replies are read straight into the
 * caller's memory, in request order, each header checked against its request.
 *
 * What this does not protect against: a peer that sends well-formed replies of
 * its own choosing.  Whoever owns the socket's directory is trusted.
 */
#ifndef HWENTROPY_CONNECTION_H
#define HWENTROPY_CONNECTION_H

#include "base.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/un.h>

enum {
    HWENTROPY_OP_READ = 1,
    HWENTROPY_OP_LEASE = 3,
    HWENTROPY_DONT_BLOCK = 1,
    HWENTROPY_PREDICTION_RESISTANCE = 2,
    HWENTROPY_DEGRADED = 1,
    HWENTROPY_PAGE = 2,
    HWENTROPY_NOT_LIVE = 4,
    HWENTROPY_HEADER_BYTES = 8,
    HWENTROPY_MAX_READ = 1 << 20,
    /* Requests on the way at a time: two keep the server busy while the client takes
       a reply, four also cover the time either is off its CPU. */
    HWENTROPY_WINDOW = 4,
    /* With a time set, a receive that a signal interrupts is not begun again by the kernel
       (signal(7)), but by us, who look whose the connection is; and so we do after it. */
    HWENTROPY_RECEIVE_SECONDS = 1,
    /* The same of a wait with a deadline: a child that a signal's handler forked would wait
       for the reply that its parent takes. */
    HWENTROPY_LOOK_MS = 100
};

struct hwentropy_connection {
    int fd; /* -1: none */
    /* The socket behind `fd` when it was opened: a program that closes descriptors it
       does not know may have given the number to something else since. */
    dev_t device;
    ino_t inode;
    uint16_t next_tag;
    uint16_t due_tag; /* of the oldest request that is not answered */
    int answered;     /* whether a byte came since the last request with none before it */
    int fresh;        /* whether no reply has come on it */
    int paged;        /* whether the generation page has come on it */
    unsigned marks;   /* HWENTROPY_DEGRADED and HWENTROPY_NOT_LIVE of the last reply */
    int64_t deadline; /* HWENTROPY_CLOCK, 0: none */
    /* Whose it is: a word that a fork wipes, and what is there where it is ours. */
    const uint32_t *owner;
    uint32_t ours;
};

/* What came of one reply besides its payload. */
struct hwentropy_reply {
    unsigned flags;
    size_t spare;  /* payload bytes that came with a refusal: of a later reply */
    int refused;   /* whether it refused the connection, and not one request */
    int fd;        /* a descriptor that came with it, -1: none; the caller's to close */
    int truncated; /* whether one was lost on the way: no number free in this process */
};

HWENTROPY_FN int hwentropy_is_open(const struct hwentropy_connection *c)
{
    struct stat info;
    return c->fd >= 0 && !fstat(c->fd, &info) && info.st_dev == c->device
        && info.st_ino == c->inode;
}

HWENTROPY_FN void hwentropy_disconnect(struct hwentropy_connection *c)
{
    if (hwentropy_is_open(c))
        (void)close(c->fd);
    c->fd = -1;
    c->paged = 0;
}

/* Connect to `path`, which fits a socket's address. */
HWENTROPY_FN int hwentropy_connect(struct hwentropy_connection *c, const char *path)
{
    struct sockaddr_un address;
    struct stat info;
    memset(&address, 0, sizeof address);
    address.sun_family = AF_UNIX;
    memcpy(address.sun_path, path, strnlen(path, sizeof address.sun_path - 1));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return HWENTROPY_SYSTEM;
    for (;;) {
        if (c->deadline) {
            /* A full backlog is waited for as long as a send would. */
            int64_t rest = c->deadline - HWENTROPY_CLOCK();
            struct timeval patience;
            rest = rest > 1000 ? rest : 1000; /* 0 would mean for ever */
            patience.tv_sec = rest / 1000000000;
            patience.tv_usec = rest % 1000000000 / 1000;
            (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
        }
        if (!connect(fd, (const struct sockaddr *)&address, sizeof address))
            break;
        if (errno == EINTR)
            continue;
        int error = errno;
        (void)close(fd);
        errno = error;
        if (error == ENOENT || error == ENOTDIR || error == ECONNREFUSED)
            return HWENTROPY_NO_DAEMON;
        if (error == EACCES || error == EPERM)
            return HWENTROPY_NO_ACCESS;
        return error == EAGAIN ? HWENTROPY_TIMEOUT : HWENTROPY_SYSTEM;
    }
    if (fstat(fd, &info)) {
        (void)close(fd);
        return HWENTROPY_SYSTEM;
    }
    struct timeval limit;
    limit.tv_sec = HWENTROPY_RECEIVE_SECONDS;
    limit.tv_usec = 0;
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    c->device = info.st_dev;
    c->inode = info.st_ino;
    /* Not 0, which the reply has that refuses a connection. */
    c->next_tag = c->due_tag = 1;
    c->fresh = 1;
    c->paged = 0;
    c->fd = fd;
    return HWENTROPY_OK;
}

/* Whether it is this process's, and not its parent's. */
HWENTROPY_FN int hwentropy_is_ours(const struct hwentropy_connection *c)
{
    return __atomic_load_n(c->owner, __ATOMIC_RELAXED) == c->ours;
}

/* Wait until the socket is ready for `events` or the deadline has come.  HWENTROPY_LOST in
 * a child that a signal's handler forked meanwhile: what it took or sent would be missing
 * in the parent's reply or spoil it. */
HWENTROPY_FN int hwentropy_wait(struct hwentropy_connection *c, short events)
{
    while (c->deadline && hwentropy_is_ours(c)) {
        int64_t rest = c->deadline - HWENTROPY_CLOCK();
        if (rest <= 0)
            return HWENTROPY_TIMEOUT;
        struct pollfd one;
        one.fd = c->fd;
        one.events = events;
        one.revents = 0;
        rest = rest / 1000000 + 1;
        int ready = poll(&one, 1, rest > HWENTROPY_LOOK_MS ? HWENTROPY_LOOK_MS : (int)rest);
        if (ready > 0)
            break;
        if (ready < 0 && errno != EINTR)
            return HWENTROPY_SYSTEM;
    }
    return hwentropy_is_ours(c) ? HWENTROPY_OK : HWENTROPY_LOST;
}

/* Whether to repeat a call on a connected socket; any other error ends the connection. */
HWENTROPY_FN int hwentropy_again(int error)
{
    return error == EINTR || error == EAGAIN;
}

/* One header at `to`; counts the tag up. */
HWENTROPY_FN void hwentropy_put_request(
    struct hwentropy_connection *c, unsigned char *to, unsigned op, unsigned flags, size_t length)
{
    to[0] = (unsigned char)op;
    to[1] = (unsigned char)flags;
    to[2] = (unsigned char)(c->next_tag >> 8);
    to[3] = (unsigned char)c->next_tag;
    hwentropy_store32_be(to + 4, (uint32_t)length);
    c->next_tag++;
}

HWENTROPY_FN int hwentropy_send(
    struct hwentropy_connection *c, const unsigned char *data, size_t size)
{
    while (size) {
        int status = hwentropy_wait(c, POLLOUT);
        if (status)
            return status;
        ssize_t sent = send(c->fd, data, size, MSG_NOSIGNAL);
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            break; /* what the daemon said before it closed is still to be read */
        } else if (!hwentropy_again(errno)) {
            return HWENTROPY_LOST;
        }
    }
    return HWENTROPY_OK;
}

/* Some bytes into `parts`, and a descriptor into `reply` if it asks for one. */
HWENTROPY_FN int hwentropy_receive(struct hwentropy_connection *c, struct iovec *parts,
    size_t count, struct hwentropy_reply *reply, int with_fd, size_t *got)
{
    union {
        struct cmsghdr header; /* aligns it */
        unsigned char room[CMSG_SPACE(sizeof(int))];
    } control;
    struct msghdr message;
    ssize_t size;
    for (;;) {
        int status = hwentropy_wait(c, POLLIN);
        if (status)
            return status;
        memset(&message, 0, sizeof message);
        memset(&control, 0, sizeof control);
        message.msg_iov = parts;
        message.msg_iovlen = count;
        if (with_fd) {
            message.msg_control = &control;
            message.msg_controllen = CMSG_LEN(sizeof(int)); /* one, no padding for a second */
        }
        size = recvmsg(c->fd, &message, MSG_CMSG_CLOEXEC);
        if (size > 0)
            break;
        if (size == 0 || !hwentropy_again(errno))
            return HWENTROPY_LOST;
    }
    c->answered = 1;
    *got = (size_t)size;
    reply->truncated |= (message.msg_flags & MSG_CTRUNC) != 0;
    struct cmsghdr *part = with_fd ? CMSG_FIRSTHDR(&message) : NULL;
    if (part && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS
        && part->cmsg_len == CMSG_LEN(sizeof(int))) {
        int fd;
        memcpy(&fd, CMSG_DATA(part), sizeof fd);
        if (reply->fd >= 0)
            (void)close(fd); /* only the first is ever asked for */
        else
            reply->fd = fd;
    }
    return HWENTROPY_OK;
}

/* Judge a header by docs/protocol.md "What a client checks". */
HWENTROPY_FN int hwentropy_check_reply(struct hwentropy_connection *c,
    const unsigned char *header, unsigned known_flags, size_t length, int *refused)
{
    unsigned status = header[0], flags = header[1], tag = (unsigned)header[2] << 8 | header[3];
    uint32_t size = hwentropy_load32_be(header + 4);
    *refused = c->fresh && tag == 0 && c->due_tag != 0
        && (status == HWENTROPY_NOT_PERMITTED || status == HWENTROPY_OVER_QUOTA);
    c->fresh = 0;
    if ((tag != c->due_tag++ && !*refused) || status > HWENTROPY_BAD_REQUEST)
        return HWENTROPY_PROTOCOL;
    if (status != HWENTROPY_OK)
        return size || flags ? HWENTROPY_PROTOCOL : (int)status;
    return size != length || (flags & ~known_flags) ? HWENTROPY_PROTOCOL : HWENTROPY_OK;
}

/* The next reply, its payload of `length` bytes into `out`. */
HWENTROPY_FN int hwentropy_take_reply(struct hwentropy_connection *c, unsigned known_flags,
    void *out, size_t length, struct hwentropy_reply *reply)
{
    unsigned char header[HWENTROPY_HEADER_BYTES];
    size_t have = 0, part = 0;
    int status, judged = 0, with_fd = (known_flags & HWENTROPY_PAGE) != 0;
    memset(reply, 0, sizeof *reply);
    reply->fd = -1;
    while (have < sizeof header + length) {
        struct iovec parts[2];
        size_t in_header = have < sizeof header ? have : sizeof header;
        parts[0].iov_base = header + in_header;
        parts[0].iov_len = sizeof header - in_header;
        parts[1].iov_base = (unsigned char *)out + (have - in_header);
        parts[1].iov_len = length - (have - in_header);
        status = hwentropy_receive(c, parts, 2, reply, with_fd, &part);
        if (status)
            return status;
        have += part;
        if (!judged && have >= sizeof header) {
            judged = 1;
            reply->flags = header[1];
            reply->spare = have - sizeof header;
            status = hwentropy_check_reply(c, header, known_flags, length, &reply->refused);
            if (status)
                return status;
        }
    }
    c->marks = reply->flags & (HWENTROPY_DEGRADED | HWENTROPY_NOT_LIVE);
    return HWENTROPY_OK;
}

/* Whether the connection can be used after this outcome, no other reply being due. */
HWENTROPY_FN int hwentropy_in_order(int status, const struct hwentropy_reply *reply)
{
    return status < HWENTROPY_BAD_REQUEST && !(status && reply->spare) && !reply->refused;
}

/* READ of any size, at least one byte: requests of 1 MiB, some of them on the way at
 * a time; `*came` are the bytes of those that were answered.  Closes the connection where
 * a reply is still due or the stream unclear. */
HWENTROPY_FN int hwentropy_read(
    struct hwentropy_connection *c, unsigned flags, void *out, size_t size, size_t *came)
{
    unsigned char requests[HWENTROPY_WINDOW * HWENTROPY_HEADER_BYTES];
    struct hwentropy_reply reply;
    size_t asked = 0, have = 0, ahead = 0;
    unsigned marks = 0, known = HWENTROPY_DEGRADED;
    if (flags & HWENTROPY_PREDICTION_RESISTANCE)
        known |= HWENTROPY_NOT_LIVE;
    c->answered = 0;
    *came = 0;
    while (have < size) {
        size_t new_bytes = 0, length;
        for (; asked < size && ahead < HWENTROPY_WINDOW; ahead++, asked += length) {
            length = hwentropy_least(size - asked, HWENTROPY_MAX_READ);
            hwentropy_put_request(c, requests + new_bytes, HWENTROPY_OP_READ, flags, length);
            new_bytes += HWENTROPY_HEADER_BYTES;
        }
        length = hwentropy_least(size - have, HWENTROPY_MAX_READ);
        memset(&reply, 0, sizeof reply);
        int status = hwentropy_send(c, requests, new_bytes);
        if (!status)
            status = hwentropy_take_reply(
                c, known, (unsigned char *)out + have, length, &reply);
        ahead--;
        if (status) {
            if (ahead || !hwentropy_in_order(status, &reply))
                hwentropy_disconnect(c);
            c->marks = marks;
            return status;
        }
        marks |= c->marks;
        *came = have += length;
    }
    c->marks = marks;
    return HWENTROPY_OK;
}

#endif
