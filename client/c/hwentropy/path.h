/* Where a client looks for the daemon's socket (docs/protocol.md, "Sockets").
 *
 * The environment is read once, when a client is made; which of two directories
 * it is, is looked up at each connect.  A program with more rights than its caller
 * (AT_SECURE: setuid and the like) does not listen to the environment: whoever
 * chooses the daemon chooses the bytes.
 */
#ifndef HWENTROPY_PATH_H
#define HWENTROPY_PATH_H

#include "base.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/un.h>

/* Where the system's daemon has its sockets.  Tests define their own. */
#ifndef HWENTROPY_SYSTEM_DIRECTORY
#define HWENTROPY_SYSTEM_DIRECTORY "/run/hwentropy"
#endif

enum { HWENTROPY_PATH_ROOM = sizeof(((struct sockaddr_un *)0)->sun_path) };

struct hwentropy_path {
    char text[HWENTROPY_PATH_ROOM]; /* "": none; cut off where it is too long */
    int too_long;
};

HWENTROPY_FN void hwentropy_set_path(
    struct hwentropy_path *path, const char *directory, const char *rest)
{
    int size = snprintf(path->text, sizeof path->text, "%s%s", directory, rest);
    path->too_long = size < 0 || (size_t)size >= sizeof path->text;
}

HWENTROPY_FN const char *hwentropy_environment(const char *name)
{
    const char *value = getauxval(AT_SECURE) ? NULL : getenv(name);
    return value && *value ? value : NULL;
}

/* `path` as given, or where this user's clients look: the second only where the first
 * is not there. */
HWENTROPY_FN void hwentropy_find_paths(struct hwentropy_path found[2], const char *path)
{
    static const char name[] = "/entropy.sock";
    const char *directory = hwentropy_environment("HWENTROPY_RUNTIME_DIR");
    uid_t user = geteuid();
    memset(found, 0, 2 * sizeof *found);
    if (path) {
        hwentropy_set_path(&found[0], path, "");
    } else if (directory) {
        hwentropy_set_path(&found[0], directory, name);
    } else if (user == 0) {
        hwentropy_set_path(&found[0], HWENTROPY_SYSTEM_DIRECTORY, name);
    } else {
        char usual[32]; /* "/run/user/" and ten digits */
        (void)snprintf(usual, sizeof usual, "/run/user/%u", (unsigned)user);
        directory = hwentropy_environment("XDG_RUNTIME_DIR");
        /* The XDG Base Directory Specification: a relative path is invalid, ignore it. */
        if (!directory || *directory != '/')
            directory = usual;
        hwentropy_set_path(&found[0], directory, "/hwentropy/entropy.sock");
        hwentropy_set_path(&found[1], HWENTROPY_SYSTEM_DIRECTORY, name);
    }
}

/* The one to connect to now. */
HWENTROPY_FN const struct hwentropy_path *hwentropy_choose_path(
    const struct hwentropy_path found[2])
{
    int first_is_there = !found[0].too_long && !access(found[0].text, F_OK);
    if (first_is_there || !found[1].text[0] || access(found[1].text, F_OK))
        return &found[0];
    return &found[1];
}

/* How much of a path names the directory that it is in; 0 from a name alone. */
HWENTROPY_FN size_t hwentropy_directory(const char *path, size_t size)
{
    while (size > 1 && path[size - 1] == '/')
        size--;
    while (size && path[size - 1] != '/')
        size--;
    while (size > 1 && path[size - 1] == '/')
        size--;
    return size;
}

/* How much of a socket's path names what stands where it has a directory: the last one
 * or one before it.  The last one where nothing is found: somebody made room, or this
 * user may not look. */
HWENTROPY_FN size_t hwentropy_file_in_the_way(const char *path)
{
    char one[HWENTROPY_PATH_ROOM] = "";
    struct stat info;
    size_t last = hwentropy_directory(path, strnlen(path, sizeof one - 1));
    memcpy(one, path, last);
    for (size_t size = last; size; size = hwentropy_directory(path, size)) {
        one[size] = '\0';
        int known = !stat(one, &info);
        if (known ? S_ISDIR(info.st_mode) : errno != ENOENT && errno != ENOTDIR && errno != ELOOP)
            break;
        if (known || !lstat(one, &info))
            return size;
    }
    return last;
}

#endif
