/* The floor of `make bench`: what a Unix socket costs when nothing is computed.
 *
 *   floor SOCKET
 *
 * Speaks just enough of the native protocol for client.c: reads the 8 bytes of
 * a request, answers 8 + length bytes in one write from a buffer that was
 * filled once.  One thread per connection, no limits, no randomness: whatever a
 * real server does beyond this is its own cost.  Ends with its parent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { HEADER = 8, MAX_READ = 1 << 20 };

static int send_all(int fd, const unsigned char *data, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return -1;
        data += sent;
        size -= (size_t)sent;
    }
    return 0;
}

static void *serve(void *argument)
{
    int fd = (int)(intptr_t)argument;
    unsigned char request[HEADER];
    unsigned char *reply = malloc(HEADER + MAX_READ);
    if (reply) {
        /* Written to, or every page would be the one shared page of zeros. */
        memset(reply, 0x5a, HEADER + MAX_READ);
        while (recv(fd, request, HEADER, MSG_WAITALL) == HEADER) {
            uint32_t length = (uint32_t)request[4] << 24 | (uint32_t)request[5] << 16 |
                              (uint32_t)request[6] << 8 | request[7];
            if (length > MAX_READ)
                break;
            memcpy(reply, request, HEADER);
            reply[0] = reply[1] = 0;
            if (send_all(fd, reply, HEADER + length))
                break;
        }
    }
    free(reply);
    close(fd);
    return NULL;
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (argc != 2 || argv[1][0] == '-' || strlen(argv[1]) >= sizeof address.sun_path) {
        fputs("usage: floor SOCKET\n", stderr);
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    strcpy(address.sun_path, argv[1]);
    int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) ||
        listen(listener, 64)) {
        fprintf(stderr, "bench floor: %s: %s\n", argv[1], strerror(errno));
        return 1;
    }
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        pthread_t thread;
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED)
                continue;
            fprintf(stderr, "bench floor: accept: %s\n", strerror(errno));
            return 1;
        }
        if (pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd))
            close(fd);
        else
            pthread_detach(thread);
    }
}
