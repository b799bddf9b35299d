/* Where a client looks for the socket: `paths UID SYSTEM_DIRECTORY` as that user. */
static const char *system_directory;
#define HWENTROPY_SYSTEM_DIRECTORY system_directory
#include "hwentropy.h"

int main(int count, char **arguments)
{
    struct hwentropy_path found[2];
    if (count != 3 || seteuid((uid_t)strtoul(arguments[1], NULL, 10)))
        return 1;
    system_directory = arguments[2];
    hwentropy_find_paths(found, NULL);
    printf("%s", hwentropy_choose_path(found)->text);
    return seteuid(getuid()); /* or the sanitizer that looks for leaks may not look */
}
