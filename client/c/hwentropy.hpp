// Random bytes from the hwentropy daemon, for C++17.  Header only, Linux, 64 bits.
//
//     hwentropy::random_device device;                // in place of std::random_device
//     std::shuffle(cards.begin(), cards.end(), device);
//     auto key = hwentropy::bytes<32>();
//     hwentropy::fill(buffer, size);
//
// Everything draws from one generator of this process, on a lease (hwentropy.h says
// what that is), unless it is given another.  Threads may share all of it; a forked
// child has a lease of its own.  Nothing falls back to another source: a draw gives
// all of its bytes or throws.  Making an object asks the daemon nothing, so it throws
// at the first draw, not in the constructor of a global.
//
// What this does not do: work in a signal handler, or make the state of a
// deterministic engine that was seeded from it any larger than that engine's.
#ifndef HWENTROPY_HPP
#define HWENTROPY_HPP

#include "hwentropy.h"

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <string>
#include <system_error>
#include <utility>

namespace hwentropy {

// error                        what() says what failed, on what, and what to do
// ├── protocol_error           the daemon sent what the protocol does not allow
// ├── daemon_unavailable       nobody answers at the socket, or no longer
// ├── not_permitted            this user may not ask, or may not open the socket
// ├── not_seeded               nothing credited yet, and the caller would not wait
// ├── over_quota               this user has had its share for now
// ├── failed_closed            too few sources can be trusted: no bytes rather than bad ones
// ├── request_refused          the daemon calls the request too long or malformed
// └── timed_out                longer than the caller's timeout
//
// Besides them std::system_error, where the system has no memory or descriptor left.
class error : public std::runtime_error {
public:
    error(int status, const std::string &what) : std::runtime_error(what), status_(status) {}

    // The hwentropy_status behind it.
    int status() const noexcept { return status_; }

private:
    int status_;
};

class protocol_error : public error {
    using error::error;
};
class daemon_unavailable : public error {
    using error::error;
};
class not_permitted : public error {
    using error::error;
};
class not_seeded : public error {
    using error::error;
};
class over_quota : public error {
    using error::error;
};
class failed_closed : public error {
    using error::error;
};
class request_refused : public error {
    using error::error;
};
class timed_out : public error {
    using error::error;
};

// How a generator comes by its bytes.
enum class mode {
    lease = HWENTROPY_LEASE,                                // a generator in this process
    direct = HWENTROPY_DIRECT,                              // every byte from the daemon
    prediction_resistant = HWENTROPY_PREDICTION_RESISTANT,  // from fresh entropy, each time
};

struct options {
    mode how = mode::lease;
    std::string path{};                    // the daemon's entropy.sock; "": where clients look
    std::chrono::milliseconds timeout{0};  // for one whole call; 0: none
    bool block = true;                     // wait for the daemon's first seed
};

[[noreturn]] inline void raise(const hwentropy_client *client, int status, int number)
{
    char text[320];  // two paths of at most 107 bytes and a sentence of 88
    hwentropy_message(client, status, number, text, sizeof text);
    switch (status) {
    case HWENTROPY_NO_DAEMON:
    case HWENTROPY_LOST:
    case HWENTROPY_PATH:
        throw daemon_unavailable(status, text);
    case HWENTROPY_NOT_PERMITTED:
    case HWENTROPY_NO_ACCESS:
        throw not_permitted(status, text);
    case HWENTROPY_NOT_SEEDED:
        throw not_seeded(status, text);
    case HWENTROPY_OVER_QUOTA:
        throw over_quota(status, text);
    case HWENTROPY_FAILED_CLOSED:
        throw failed_closed(status, text);
    case HWENTROPY_TOO_LONG:
    case HWENTROPY_BAD_REQUEST:
        throw request_refused(status, text);
    case HWENTROPY_TIMEOUT:
        throw timed_out(status, text);
    case HWENTROPY_SYSTEM:
        throw std::system_error(number, std::generic_category(), text);
    default:
        throw protocol_error(status, text);
    }
}

// One lease, or one connection in the other modes.  Threads may share it; one each is
// faster where several draw all the time.
class generator {
public:
    generator() : generator(options{}) {}

    // Throws std::invalid_argument for a timeout below 0 or above 2^32 - 1 ms,
    // error where this machine or build computes wrongly, and
    // std::system_error where a lease's memory is not to be had.
    explicit generator(const options &chosen)
    {
        constexpr auto most = std::numeric_limits<unsigned>::max();
        const auto wait = chosen.timeout.count();
        if (wait < 0 || static_cast<unsigned long long>(wait) > most)
            throw std::invalid_argument("a timeout is 0 (none) to 4294967295 ms");
        hwentropy_options plain{};
        plain.path = chosen.path.empty() ? nullptr : chosen.path.c_str();
        plain.mode = static_cast<hwentropy_mode>(chosen.how);
        plain.timeout_ms = static_cast<unsigned>(wait);
        plain.dont_block = !chosen.block;
        const int status = hwentropy_open(&client_, &plain);
        if (status == HWENTROPY_WRONG)
            throw error(status,
                "a known-answer test failed: this machine or this build computes wrongly;"
                " test the hardware, compile anew");
        if (status)
            throw std::system_error(errno, std::generic_category(),
                "no memory that a fork wipes for hwentropy (Linux 4.14 and later have it)");
    }

    ~generator() { hwentropy_close(client_); }
    generator(const generator &) = delete;
    generator &operator=(const generator &) = delete;

    // Overwrite `size` bytes, any number of them.  What it throws leaves zeros there.
    void fill(void *out, std::size_t size)
    {
        const int status = hwentropy_fill(client_, out, size);
        if (status)
            raise(client_, status, errno);
    }

    // Whether the last lease or read was granted while the daemon was degraded: short of
    // healthy sources, or without a new seed for too long.
    bool degraded() const noexcept { return hwentropy_degraded(client_) != 0; }

    // Whether the last read with prediction resistance was met by generators alone: no
    // live source was healthy.
    bool not_live() const noexcept { return hwentropy_not_live(client_) != 0; }

    // The one that everything draws from by default: a lease, found where clients look.
    // It is never destroyed, so destructors of globals may draw too.
    static generator &shared()
    {
        static generator *const one = new generator;
        return *one;
    }

private:
    hwentropy_client *client_ = nullptr;
};

// Overwrite `size` bytes at `out`.
inline void fill(void *out, std::size_t size)
{
    generator::shared().fill(out, size);
}

// N bytes.
template <std::size_t N>
std::array<std::uint8_t, N> bytes(generator &from = generator::shared())
{
    std::array<std::uint8_t, N> out;
    from.fill(out.data(), N);
    return out;
}

// What std::random_device promises, kept: a UniformRandomBitGenerator that is not
// deterministic.  For every distribution of <random>, std::shuffle and std::sample.
class random_device {
public:
    using result_type = std::uint32_t;

    static constexpr result_type min() noexcept { return 0; }
    static constexpr result_type max() noexcept { return std::numeric_limits<result_type>::max(); }

    // Draws from this process's shared generator.
    random_device() : from_(&generator::shared()) {}

    // Draws from a generator of its own.
    explicit random_device(const options &chosen)
        : own_(std::make_unique<generator>(chosen)), from_(own_.get())
    {
    }

    random_device(const random_device &) = delete;
    random_device &operator=(const random_device &) = delete;

    result_type operator()()
    {
        result_type value;
        from_->fill(&value, sizeof value);
        return value;
    }

    // Bits per value: all of them, as far as the daemon's sources are what they claim.
    double entropy() const noexcept { return std::numeric_limits<result_type>::digits; }

private:
    std::unique_ptr<generator> own_;
    generator *from_;
};

}  // namespace hwentropy

#endif
