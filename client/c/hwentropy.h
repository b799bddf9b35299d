/* Random bytes from the hwentropy daemon, for C99.  Header only, Linux, 64 bits.
 *
 *     hwentropy_client *client;
 *     unsigned char key[32];
 *     if (hwentropy_open(&client, NULL) || hwentropy_fill(client, key, sizeof key))
 *         abort();
 *
 * A client draws from a lease: a generator of its own that the daemon seeds, and
 * ends when it reseeds or fails closed (docs/protocol.md, docs/drbg.md).  Threads
 * may share a client; after a fork the child gets a lease of its own.  When the
 * daemon is gone, draws go on inside the lease's limits, then fail.  There is no
 * fallback: a call gives all of its bytes or none, and zeros in their place.
 *
 * What this does not do: work in a signal handler (a draw that it interrupts holds
 * the lock), or survive the cancellation of a thread in the middle of a draw.  See
 * also what lease.h and connection.h do not protect against.
 */
#ifndef HWENTROPY_H
#define HWENTROPY_H

#include "hwentropy/base.h"
#include "hwentropy/connection.h"
#include "hwentropy/known_answers.h"
#include "hwentropy/lease.h"
#include "hwentropy/path.h"

enum hwentropy_mode {
    HWENTROPY_LEASE = 0,               /* draw from a generator of this process */
    HWENTROPY_DIRECT = 1,              /* ask the daemon for every byte */
    HWENTROPY_PREDICTION_RESISTANT = 2 /* and have it collect fresh entropy first */
};

/* All zeros: the defaults. */
struct hwentropy_options {
    const char *path; /* the daemon's entropy.sock; NULL: where clients look for it */
    enum hwentropy_mode mode;
    int dont_block;      /* HWENTROPY_NOT_SEEDED rather than wait for the first seed */
    unsigned timeout_ms; /* for one whole call; 0: none */
};

typedef struct hwentropy_client {
    struct hwentropy_secret *secret;
    uint64_t *page; /* of the lease */
    struct hwentropy_connection connection;
    struct hwentropy_path paths[2];
    const struct hwentropy_path *path; /* the one connected to last; atomic */
    unsigned marks;                    /* of the last reply; atomic */
    enum hwentropy_mode mode;
    int dont_block;
    unsigned timeout_ms;
    uint32_t owners; /* how often `secret` was taken into use: once, and after forks */
} hwentropy_client;

/* A lease's draw is made in pieces: between two it looks at the epoch, so that a
 * daemon that fails closed ends a long one within some milliseconds. */
#define HWENTROPY_PIECE_BYTES ((size_t)16 << 20)

/* Make a client, once the known-answer tests have passed (HWENTROPY_WRONG); asks the
 * daemon nothing yet.  HWENTROPY_SYSTEM, with errno, where memory is short or the kernel is
 * older than 4.14, which cannot wipe memory on fork. */
HWENTROPY_FN int hwentropy_open(hwentropy_client **out, const struct hwentropy_options *options)
{
    hwentropy_client *client = (hwentropy_client *)calloc(1, sizeof *client);
    *out = NULL;
    if (!client)
        return HWENTROPY_SYSTEM;
    client->secret = hwentropy_new_secret();
    if (!client->secret) {
        int error = errno;
        free(client);
        errno = error;
        return HWENTROPY_SYSTEM;
    }
    if (!hwentropy_computes_rightly(&client->secret->drbg)) {
        hwentropy_free_secret(client->secret);
        free(client);
        return HWENTROPY_WRONG;
    }
    client->connection.fd = -1;
    client->connection.owner = &client->secret->owner;
    client->path = &client->paths[0];
    hwentropy_find_paths(client->paths, options ? options->path : NULL);
    if (options) {
        client->mode = options->mode;
        client->dont_block = options->dont_block;
        client->timeout_ms = options->timeout_ms;
    }
    *out = client;
    return HWENTROPY_OK;
}

/* Forget everything.  No other thread may be using the client.  NULL is fine. */
HWENTROPY_FN void hwentropy_close(hwentropy_client *client)
{
    if (!client)
        return;
    hwentropy_disconnect(&client->connection);
    hwentropy_unmap_page(&client->page);
    hwentropy_free_secret(client->secret);
    free(client);
}

/* Whether the last lease or read was granted while the daemon was degraded: short of
 * healthy sources, or without a new seed for too long. */
HWENTROPY_FN int hwentropy_degraded(const hwentropy_client *client)
{
    return (__atomic_load_n(&client->marks, __ATOMIC_RELAXED) & HWENTROPY_DEGRADED) != 0;
}

/* Whether the last read with prediction resistance was met by generators alone: no live
 * source was healthy. */
HWENTROPY_FN int hwentropy_not_live(const hwentropy_client *client)
{
    return (__atomic_load_n(&client->marks, __ATOMIC_RELAXED) & HWENTROPY_NOT_LIVE) != 0;
}

/* Take the secret memory into use if nobody in this process has, letting go of what a
 * parent left; returns its owner.  Lock held, as in all of the following. */
HWENTROPY_FN uint32_t hwentropy_owner(hwentropy_client *client)
{
    struct hwentropy_secret *secret = client->secret;
    if (!secret->owner) {
        hwentropy_disconnect(&client->connection);
        hwentropy_unmap_page(&client->page);
        secret->left = 0;
        hwentropy_wipe(&secret->drbg, sizeof secret->drbg);
        secret->owner = client->connection.ours = ++client->owners;
    }
    return secret->owner;
}

/* Whether these are still the bytes of `owner`.  A handler of a signal may have forked
 * in the middle of a draw: the child must not go on with what the parent goes on with. */
HWENTROPY_FN int hwentropy_still(hwentropy_client *client, uint32_t owner)
{
    __asm__ __volatile__("" : : : "memory");
    return __atomic_load_n(&client->secret->owner, __ATOMIC_RELAXED) == owner;
}

HWENTROPY_FN int hwentropy_reconnect(hwentropy_client *client)
{
    const struct hwentropy_path *path = hwentropy_choose_path(client->paths);
    __atomic_store_n(&client->path, path, __ATOMIC_RELAXED);
    return path->too_long ? HWENTROPY_PATH : hwentropy_connect(&client->connection, path->text);
}

/* One READ, of which `*came` bytes came, or one LEASE where `payload` is not NULL.  A
 * connection kept from an earlier call that turns out to be closed, with nothing answered, was ended by a
 * restart: one more attempt on a new one. */
HWENTROPY_FN int hwentropy_ask(
    hwentropy_client *client, unsigned char *payload, void *out, size_t size, size_t *came)
{
    struct hwentropy_connection *c = &client->connection;
    unsigned flags = client->dont_block ? HWENTROPY_DONT_BLOCK : 0;
    int kept = hwentropy_is_open(c), status;
    if (client->mode == HWENTROPY_PREDICTION_RESISTANT)
        flags |= HWENTROPY_PREDICTION_RESISTANCE;
    if (!kept)
        hwentropy_disconnect(c);
    for (;; kept = 0) {
        status = c->fd >= 0 ? HWENTROPY_OK : hwentropy_reconnect(client);
        if (status)
            return status;
        if (payload) {
            uint64_t *page = NULL;
            status = hwentropy_ask_lease(c, flags, payload, &page);
            if (page) {
                hwentropy_unmap_page(&client->page);
                client->page = page;
            }
        } else {
            status = hwentropy_read(c, flags, out, size, came);
        }
        if (!status || (came && *came))
            __atomic_store_n(&client->marks, c->marks, __ATOMIC_RELAXED);
        if (status != HWENTROPY_LOST || !kept || c->answered || !hwentropy_is_ours(c))
            return status;
    }
}

HWENTROPY_FN int hwentropy_renew(hwentropy_client *client)
{
    unsigned char payload[HWENTROPY_LEASE_BYTES];
    struct hwentropy_secret *secret = client->secret;
    int status = HWENTROPY_PROTOCOL;
    secret->left = 0;
    for (int i = 0; i < HWENTROPY_LEASE_TRIES; i++) {
        const uint64_t *page = client->page;
        uint64_t epoch = page ? hwentropy_page_epoch(page) : 0;
        int64_t asked = HWENTROPY_CLOCK();
        status = hwentropy_ask(client, payload, NULL, 0, NULL);
        if (status)
            break;
        /* A page that came with this very reply says nothing of the time before it: ask
         * once more.  A moved epoch: the seed is outdated already. */
        if (page == client->page && hwentropy_page_epoch(page) == epoch) {
            hwentropy_start_lease(secret, payload, epoch, asked);
            break;
        }
        status = HWENTROPY_PROTOCOL;
    }
    hwentropy_wipe(payload, sizeof payload);
    return status;
}

/* Whether the lease may give a byte: to be asked before every draw. */
HWENTROPY_FN int hwentropy_is_leased(const hwentropy_client *client)
{
    const struct hwentropy_secret *secret = client->secret;
    if (!secret->left || hwentropy_page_epoch(client->page) != secret->epoch)
        return 0;
    int64_t now = HWENTROPY_CLOCK();
    return now < secret->ends && hwentropy_page_serves(client->page, now);
}

/* One piece from the lease; sets `*size` to the bytes that were drawn, 0: try again, and
 * `*whose` to the owner they are of.  Not inlined: gcc would see the caller's array and
 * warn of sizes that cannot be. */
HWENTROPY_APART int hwentropy_draw(hwentropy_client *client, unsigned char *out, size_t *size,
    int64_t deadline, uint32_t *whose)
{
    struct hwentropy_secret *secret = client->secret;
    size_t piece = hwentropy_least(*size, HWENTROPY_PIECE_BYTES);
    unsigned char key[HWENTROPY_KEY_BYTES];
    int status = hwentropy_lock(&secret->lock, deadline);
    if (status)
        return status;
    uint32_t owner = hwentropy_owner(client);
    if (!hwentropy_is_leased(client)) {
        client->connection.deadline = deadline;
        status = hwentropy_renew(client);
    }
    if (!status) {
        piece = piece < secret->left ? piece : (size_t)secret->left;
        secret->left -= piece;
        if (piece <= HWENTROPY_DRBG_SMALL)
            hwentropy_drbg_take(&secret->drbg, out, piece);
        else
            hwentropy_drbg_take(&secret->drbg, key, sizeof key);
        if (!hwentropy_still(client, owner))
            secret->owner = 0; /* whatever lies there now: never use it */
    }
    int error = errno;
    hwentropy_unlock(&secret->lock);
    errno = error;
    *whose = owner;
    if (status) {
        *size = 0;
        return hwentropy_still(client, owner) ? status : HWENTROPY_OK;
    }
    if (piece > HWENTROPY_DRBG_SMALL) {
        hwentropy_keystream(key, out, piece);
        hwentropy_wipe(key, sizeof key);
    }
    *size = hwentropy_still(client, owner) ? piece : 0;
    return HWENTROPY_OK;
}

/* `*size` bytes straight from the daemon; sets it to how many came, and `*whose` to the
 * owner they are of. */
HWENTROPY_FN int hwentropy_read_direct(hwentropy_client *client, unsigned char *out,
    size_t *size, int64_t deadline, uint32_t *whose)
{
    uint32_t owner;
    size_t wanted = *size;
    int status = hwentropy_lock(&client->secret->lock, deadline);
    *size = 0;
    if (status)
        return status;
    do {
        owner = hwentropy_owner(client);
        client->connection.deadline = deadline;
        status = hwentropy_ask(client, NULL, out, wanted, size);
    } while (!hwentropy_still(client, owner));
    *whose = owner;
    int error = errno;
    hwentropy_unlock(&client->secret->lock);
    errno = error;
    return status;
}

/* `size` random bytes, any number of them, or zeros and a status other than 0.  Over its
 * user's quota it pauses and asks again, within the timeout or 30 seconds. */
HWENTROPY_FN int hwentropy_fill(hwentropy_client *client, void *out, size_t size)
{
    unsigned char *to = (unsigned char *)out;
    struct hwentropy_backoff backoff = {0, 0};
    size_t have = 0, part;
    unsigned marks = 0;
    int status = HWENTROPY_OK;
    int64_t deadline = 0;
    uint32_t whose = 0, before;
    if (client->timeout_ms)
        deadline = HWENTROPY_CLOCK() + (int64_t)client->timeout_ms * 1000000;
    for (; !status && have < size; have += part) {
        part = size - have;
        before = whose;
        if (client->mode == HWENTROPY_LEASE)
            status = hwentropy_draw(client, to + have, &part, deadline, &whose);
        else
            status = hwentropy_read_direct(client, to + have, &part, deadline, &whose);
        if (before && whose != before)
            have = part = 0; /* forked in between: the parent has the pieces before */
        if (part)
            marks |= __atomic_load_n(&client->marks, __ATOMIC_RELAXED);
        if (status == HWENTROPY_OVER_QUOTA && hwentropy_back_off(&backoff, deadline))
            status = HWENTROPY_OK;
        else if (status == HWENTROPY_TIMEOUT && backoff.step)
            status = HWENTROPY_OVER_QUOTA;
    }
    if (marks && client->mode != HWENTROPY_LEASE)
        __atomic_store_n(&client->marks, marks, __ATOMIC_RELAXED);
    if (status && size) {
        int error = errno;
        hwentropy_wipe(out, size);
        errno = error;
    }
    return status;
}

/* One sentence: what failed, on what, what to do.  `error` is errno of that time, which
 * HWENTROPY_SYSTEM and HWENTROPY_NO_DAEMON tell more by.  Cut off where `room` is short;
 * holds no random byte. */
HWENTROPY_FN void hwentropy_message(
    const hwentropy_client *client, int status, int error, char *text, size_t room)
{
    const char *path = __atomic_load_n(&client->path, __ATOMIC_RELAXED)->text;
    const char *before = "the daemon at ", *after = "";
    switch (status) {
    case HWENTROPY_OK:
        after = " answered";
        break;
    case HWENTROPY_NOT_SEEDED:
        after = " is not seeded yet; try again later, or wait for it (no dont_block)";
        break;
    case HWENTROPY_NOT_PERMITTED:
        after = " does not permit this to this user; ask its administrator for [access] in"
                " hwentropyd.toml";
        break;
    case HWENTROPY_OVER_QUOTA:
        before = "this user is over its quota at ";
        after = "; ask for less, or later";
        break;
    case HWENTROPY_FAILED_CLOSED:
        after = " has no source to trust for this now; see `hwentropy sources`";
        break;
    case HWENTROPY_TOO_LONG:
    case HWENTROPY_BAD_REQUEST:
        after = " does not take the request; update the older of the two";
        break;
    case HWENTROPY_NO_DAEMON:
        before = "no daemon answers at ";
        after = "; start it with `systemctl start hwentropyd` or `hwentropyd`";
        break;
    case HWENTROPY_LOST:
        after = " closed the connection before it had answered; try again, and see its log"
                " if that repeats";
        break;
    case HWENTROPY_NO_ACCESS:
        before = "no permission on ";
        after = "; join its group or use sudo";
        break;
    case HWENTROPY_PATH:
        before = "the socket's path is too long for one, it begins with ";
        after = "; use a shorter one";
        break;
    case HWENTROPY_TIMEOUT:
        after = " did not answer in time; allow more, or see `hwentropy status` for what it"
                " waits for";
        break;
    case HWENTROPY_PROTOCOL:
        after = " does not keep to the protocol; see what listens there";
        break;
    case HWENTROPY_WRONG:
        before = "a known-answer test failed; nothing is asked of the daemon at ";
        after = "; test the hardware, compile anew";
        break;
    default:
        before = "a system call failed for the daemon at ";
        break;
    }
    if (status == HWENTROPY_SYSTEM)
        (void)snprintf(text, room, "%s%s: %s", before, path, strerror(error));
    else if (status == HWENTROPY_NO_DAEMON && error == ENOTDIR)
        (void)snprintf(text, room,
            "%s%s: %.*s is not a directory; name the directory with the daemon's sockets", before,
            path, (int)hwentropy_file_in_the_way(path), path);
    else
        (void)snprintf(text, room, "%s%s%s", before, path, after);
}

#endif
