// forks CHILDREN: each child draws as soon as it is there, and so does the parent between
// two of them; every draw is a line of hexadecimal on standard output.
#include "hwentropy.hpp"

#include <cstdio>
#include <cstdlib>
#include <sys/wait.h>

static void draw()
{
    char line[33];
    const auto bytes = hwentropy::bytes<16>();
    for (std::size_t i = 0; i < bytes.size(); i++)
        std::snprintf(line + 2 * i, 3, "%02x", static_cast<unsigned>(bytes[i]));
    line[32] = '\n';
    if (write(STDOUT_FILENO, line, sizeof line) != static_cast<ssize_t>(sizeof line))
        std::_Exit(1);
}

int main(int, char **arguments)
{
    const int children = std::atoi(arguments[1]);
    draw();
    for (int i = 0; i < children; i++) {
        const pid_t child = fork();
        if (child < 0)
            return 1;
        if (child == 0) {
            draw();
            // A grandchild of a child that has drawn, and the child after it.
            if (fork() == 0) {
                draw();
                std::_Exit(0);
            }
            draw();
            int code = 1;
            wait(&code);
            std::_Exit(code != 0);
        }
        draw();
        int code = 1;
        if (waitpid(child, &code, 0) != child || code)
            return 1;
    }
}
