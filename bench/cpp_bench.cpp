// The C++ client beside std::random_device and getrandom(2), in one process on a lease.
//
//     g++ -std=c++17 -O2 -I client/c bench/cpp_bench.cpp -o /tmp/cpp_bench && /tmp/cpp_bench
//
// Needs a running daemon (HWENTROPY_RUNTIME_DIR).  Interleaved: each of the rounds visits
// every case; the median of the rounds is printed.
// A first draw, which fetches the lease, is not in it.

#include "hwentropy.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <random>
#include <string>
#include <sys/random.h>
#include <vector>

namespace {

constexpr int rounds = 7;
constexpr double seconds = 0.05;  // of each run

struct one_case {
    std::string name;
    std::function<void()> call;
    std::vector<double> took = {};
};

double now()
{
    using namespace std::chrono;
    return duration<double>(steady_clock::now().time_since_epoch()).count();
}

double time_of(const std::function<void()> &call)
{
    long count = 1;
    for (;; count *= 2) {
        double start = now();
        for (long i = 0; i < count; i++)
            call();
        double took = now() - start;
        if (took >= seconds)
            return took / static_cast<double>(count);
    }
}

void kernel(unsigned char *out, std::size_t size)
{
    while (size > 0) {
        ssize_t got = getrandom(out, size, 0);
        if (got < 0)
            std::abort();
        out += got;
        size -= static_cast<std::size_t>(got);
    }
}

}  // namespace

int main()
{
    hwentropy::random_device ours;
    std::random_device theirs;
    volatile unsigned sink = 0;
    unsigned char some[32];
    std::vector<unsigned char> much(std::size_t{64} << 20);
    std::vector<one_case> cases = {
        {"one value: hwentropy", [&] { sink = ours(); }},
        {"one value: std::random_device", [&] { sink = theirs(); }},
        {"one value: getrandom", [&] { kernel(some, 4); }},
        {"32 bytes: hwentropy", [&] { hwentropy::fill(some, sizeof some); }},
        {"32 bytes: getrandom", [&] { kernel(some, sizeof some); }},
        {"64 MiB: hwentropy", [&] { hwentropy::fill(much.data(), much.size()); }},
        {"64 MiB: getrandom", [&] { kernel(much.data(), much.size()); }},
    };
    for (auto &one : cases)
        one.call();
    for (int round = 0; round < rounds; round++)
        for (auto &one : cases)
            one.took.push_back(time_of(one.call));
    for (auto &one : cases) {
        std::nth_element(one.took.begin(), one.took.begin() + rounds / 2, one.took.end());
        std::printf("%-32s %14.1f ns\n", one.name.c_str(), one.took[rounds / 2] * 1e9);
    }
}
