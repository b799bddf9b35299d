// Prints argv[1] random bytes in hexadecimal, drawn through hwentropy.hpp.
#include "hwentropy.hpp"

#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int count, char **words)
{
    if (count != 2)
        return 2;
    std::vector<unsigned char> data(static_cast<std::size_t>(std::atol(words[1])));
    hwentropy::fill(data.data(), data.size());
    for (unsigned char byte : data)
        std::printf("%02x", byte);
}
