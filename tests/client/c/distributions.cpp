// hwentropy::random_device with the whole of <random> and <algorithm>: compiles, runs,
// and gives what the distribution says.  Ends with 0 and prints nothing when it does.
#include "hwentropy.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <set>
#include <type_traits>
#include <vector>

using hwentropy::random_device;

static_assert(std::is_same_v<random_device::result_type, std::uint32_t>);
static_assert(std::is_unsigned_v<random_device::result_type>);
static_assert(random_device::min() == 0 && random_device::max() == 0xffffffff);
static_assert(std::is_same_v<decltype(std::declval<random_device &>()()), std::uint32_t>);
static_assert(!std::is_copy_constructible_v<random_device>);
static_assert(!std::is_copy_assignable_v<random_device>);
static_assert(!std::is_copy_constructible_v<hwentropy::generator>);
static_assert(std::is_base_of_v<std::runtime_error, hwentropy::error>);
static_assert(std::is_base_of_v<hwentropy::error, hwentropy::daemon_unavailable>);

static void check(bool fine, const char *what)
{
    if (!fine) {
        std::printf("%s\n", what);
        std::exit(1);
    }
}

// The mean of 20,000 draws lies within 6 standard errors: missed once in 5 * 10^8 runs.
template <class Distribution>
static void mean_is(Distribution distribution, double mean, double deviation, const char *what)
{
    constexpr int draws = 20000;
    random_device device;
    double sum = 0;
    for (int i = 0; i < draws; i++)
        sum += static_cast<double>(distribution(device));
    check(std::abs(sum / draws - mean) < 6 * deviation / std::sqrt(draws), what);
}

static void distributions()
{
    using std::sqrt;
    mean_is(std::uniform_int_distribution<int>(-10, 10), 0, sqrt(440.0 / 12), "uniform_int");
    mean_is(std::uniform_int_distribution<std::int64_t>(0, std::int64_t{1} << 40),
        std::ldexp(1, 39), std::ldexp(1, 40) / sqrt(12.0), "uniform_int of 64 bits");
    mean_is(std::uniform_real_distribution<>(0, 1), 0.5, 1 / sqrt(12.0), "uniform_real");
    mean_is(std::bernoulli_distribution(0.25), 0.25, sqrt(0.25 * 0.75), "bernoulli");
    mean_is(std::binomial_distribution<>(10, 0.5), 5, sqrt(2.5), "binomial");
    mean_is(std::negative_binomial_distribution<>(3, 0.5), 3, sqrt(6.0), "negative_binomial");
    mean_is(std::geometric_distribution<>(0.5), 1, sqrt(2.0), "geometric");
    mean_is(std::poisson_distribution<>(4), 4, 2, "poisson");
    mean_is(std::exponential_distribution<>(2), 0.5, 0.5, "exponential");
    mean_is(std::gamma_distribution<>(2, 2), 4, sqrt(8.0), "gamma");
    mean_is(std::weibull_distribution<>(1, 1), 1, 1, "weibull");
    mean_is(std::extreme_value_distribution<>(0, 1), 0.5772156649, 1.2825498, "extreme_value");
    mean_is(std::normal_distribution<>(3, 2), 3, 2, "normal");
    mean_is(std::lognormal_distribution<>(0, 0.5), std::exp(0.125),
        sqrt((std::exp(0.25) - 1) * std::exp(0.25)), "lognormal");
    mean_is(std::chi_squared_distribution<>(3), 3, sqrt(6.0), "chi_squared");
    mean_is(std::student_t_distribution<>(10), 0, sqrt(1.25), "student_t");
    mean_is(std::fisher_f_distribution<>(10, 20), 20.0 / 18, 0.72, "fisher_f");
    mean_is(std::discrete_distribution<>({1, 1, 2}), 1.25, sqrt(0.6875), "discrete");
    const std::vector<double> edges{0, 1, 2}, flat{1, 1}, slope{0, 1, 0};
    mean_is(std::piecewise_constant_distribution<>(edges.begin(), edges.end(), flat.begin()), 1,
        2 / sqrt(12.0), "piecewise_constant");
    mean_is(std::piecewise_linear_distribution<>(edges.begin(), edges.end(), slope.begin()), 1,
        sqrt(1.0 / 6), "piecewise_linear");
    // No mean: its median is the location.
    std::cauchy_distribution<> cauchy(5, 1);
    random_device device;
    int above = 0;
    for (int i = 0; i < 10000; i++)
        above += cauchy(device) > 5;
    check(std::abs(above - 5000) < 6 * 50, "cauchy");
    const double canonical = std::generate_canonical<double, 53>(device);
    check(canonical >= 0 && canonical < 1, "generate_canonical");
}

// All 24 orders of four cards, 24,000 times: chi-square with 23 degrees of freedom is
// above 74.5 once in 4 * 10^6 runs by its exact distribution; 100 leaves room.
static void shuffles()
{
    std::vector<int> cards(4);
    std::vector<int> seen(256);
    random_device device;
    for (int i = 0; i < 24000; i++) {
        std::iota(cards.begin(), cards.end(), 0);
        std::shuffle(cards.begin(), cards.end(), device);
        int code = 0;
        for (int card : cards)
            code = 4 * code + card;
        seen[static_cast<std::size_t>(code)]++;
    }
    double statistic = 0;
    int orders = 0;
    for (int count : seen)
        if (count) {
            orders++;
            statistic += (count - 1000.0) * (count - 1000.0) / 1000;
        }
    check(orders == 24 && statistic < 100, "shuffle");
    std::vector<int> from(100), hand;
    std::iota(from.begin(), from.end(), 0);
    std::sample(from.begin(), from.end(), std::back_inserter(hand), 10, device);
    check(std::set<int>(hand.begin(), hand.end()).size() == 10, "sample");
}

static void interface()
{
    random_device shared;
    random_device own(hwentropy::options{hwentropy::mode::direct});
    check(shared.entropy() == 32, "entropy");
    check(shared() != shared() || shared() != shared(), "two values twice");
    check(own() != own() || own() != own(), "two values of its own twice");
    const auto key = hwentropy::bytes<32>(), other = hwentropy::bytes<32>();
    check(key != other && hwentropy::bytes<0>().empty(), "bytes");
    std::vector<unsigned char> memory(100000);
    hwentropy::fill(memory.data(), memory.size());
    check(std::set<unsigned char>(memory.begin(), memory.end()).size() == 256, "fill");
    std::mt19937_64 engine(shared());
    check(engine() != engine(), "seeding an engine");
    random_device nobody(hwentropy::options{hwentropy::mode::lease, "/nowhere/entropy.sock"});
    try {
        nobody();
        check(false, "no daemon and no exception");
    } catch (const hwentropy::daemon_unavailable &error) {
        check(error.status() == HWENTROPY_NO_DAEMON, "status");
    }
    try {
        hwentropy::generator wrong({hwentropy::mode::lease, "", std::chrono::milliseconds(-1)});
        check(false, "a timeout below 0");
    } catch (const std::invalid_argument &) {
    }
}

int main()
{
    interface();
    distributions();
    shuffles();
}
