/* The commands of probe_commands.h on the C client, and some that look inside:
 *
 *   connect     connect, and wait until the daemon has hung up
 *   tag N       give the next request this tag
 *   flags       the VmFlags of /proc/self/smaps of the secret memory
 *   residue N   fill N; `ok 1` where these bytes are still in the secret memory
 */
#include "clock.h"
#include "hwentropy.h"
#include "probe_commands.h"

static hwentropy_client *client;
static __thread char wrong[512];

static const char *kind(int status)
{
    switch (status) {
    case HWENTROPY_NO_DAEMON:
    case HWENTROPY_LOST:
    case HWENTROPY_PATH:
        return "daemon_unavailable";
    case HWENTROPY_NOT_PERMITTED:
    case HWENTROPY_NO_ACCESS:
        return "not_permitted";
    case HWENTROPY_NOT_SEEDED:
        return "not_seeded";
    case HWENTROPY_OVER_QUOTA:
        return "over_quota";
    case HWENTROPY_FAILED_CLOSED:
        return "failed_closed";
    case HWENTROPY_TOO_LONG:
    case HWENTROPY_BAD_REQUEST:
        return "request_refused";
    case HWENTROPY_TIMEOUT:
        return "timed_out";
    case HWENTROPY_SYSTEM:
        return "system_error";
    default:
        return "protocol_error";
    }
}

static const char *told(int status)
{
    int error = errno;
    if (!status)
        return NULL;
    int size = snprintf(wrong, sizeof wrong, "%s ", kind(status));
    hwentropy_message(client, status, error, wrong + size, sizeof wrong - (size_t)size);
    return wrong;
}

static const char *probe_open(unsigned mode, unsigned timeout_ms, int block, const char *path)
{
    static hwentropy_client *fresh;
    struct hwentropy_options options;
    options.path = path;
    options.mode = (enum hwentropy_mode)mode;
    options.timeout_ms = timeout_ms;
    options.dont_block = !block;
    hwentropy_close(client);
    client = NULL;
    if (hwentropy_open(&fresh, &options))
        abort();
    client = fresh;
    return NULL;
}

static const char *probe_fill(void *out, size_t size)
{
    return told(hwentropy_fill(client, out, size));
}

static int probe_degraded(void)
{
    return hwentropy_degraded(client);
}

static int probe_not_live(void)
{
    return hwentropy_not_live(client);
}

static void print_flags(void)
{
    char line[MAX_LINE], wanted[32];
    int here = 0;
    FILE *maps = fopen("/proc/self/smaps", "r");
    if (!maps)
        abort();
    snprintf(wanted, sizeof wanted, "%lx-", (unsigned long)client->secret);
    while (fgets(line, sizeof line, maps)) {
        here |= !strncmp(line, wanted, strlen(wanted));
        if (here && !strncmp(line, "VmFlags:", 8)) {
            printf("ok%s", line + 8);
            break;
        }
    }
    fclose(maps);
}

static void connect_and_wait(void)
{
    struct pollfd one;
    hwentropy_owner(client);
    if (hwentropy_reconnect(client))
        abort();
    memset(&one, 0, sizeof one);
    one.fd = client->connection.fd;
    while (!(one.revents & POLLHUP))
        if (poll(&one, 1, -1) < 0 && errno != EINTR)
            abort();
}

static int probe_other(const char *line)
{
    unsigned n;
    unsigned char bytes[MAX_LINE];
    if (!strcmp(line, "connect")) {
        connect_and_wait();
        printf("ok\n");
    } else if (sscanf(line, "tag %u", &n) == 1) {
        client->connection.next_tag = client->connection.due_tag = (uint16_t)n;
        printf("ok\n");
    } else if (!strcmp(line, "flags")) {
        print_flags();
    } else if (sscanf(line, "residue %u", &n) == 1 && n <= sizeof bytes) {
        if (probe_fill(bytes, n))
            abort();
        printf("ok %d\n", memmem(client->secret, sizeof *client->secret, bytes, n) != NULL);
    } else {
        return 0;
    }
    return 1;
}
