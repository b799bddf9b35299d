// The commands of probe_commands.h on the C++ client.
#include "clock.h"
#include "hwentropy.hpp"
#include "probe_commands.h"

static std::unique_ptr<hwentropy::generator> generator;

template <class Exception> static const char *told(const char *kind, const Exception &error)
{
    static thread_local std::string text;
    text = std::string(kind) + ' ' + error.what();
    return text.c_str();
}

template <class Action> static const char *outcome(Action action)
{
    try {
        action();
        return nullptr;
    } catch (const hwentropy::daemon_unavailable &error) {
        return told("daemon_unavailable", error);
    } catch (const hwentropy::not_permitted &error) {
        return told("not_permitted", error);
    } catch (const hwentropy::not_seeded &error) {
        return told("not_seeded", error);
    } catch (const hwentropy::over_quota &error) {
        return told("over_quota", error);
    } catch (const hwentropy::failed_closed &error) {
        return told("failed_closed", error);
    } catch (const hwentropy::request_refused &error) {
        return told("request_refused", error);
    } catch (const hwentropy::timed_out &error) {
        return told("timed_out", error);
    } catch (const hwentropy::protocol_error &error) {
        return told("protocol_error", error);
    } catch (const std::system_error &error) {
        return told("system_error", error);
    }
}

static const char *probe_open(unsigned mode, unsigned timeout_ms, int block, const char *path)
{
    hwentropy::options options;
    options.how = static_cast<hwentropy::mode>(mode);
    options.timeout = std::chrono::milliseconds(timeout_ms);
    options.block = block != 0;
    options.path = path ? path : "";
    return outcome([&] { generator = std::make_unique<hwentropy::generator>(options); });
}

static const char *probe_fill(void *out, size_t size)
{
    return outcome([&] { generator->fill(out, size); });
}

static int probe_degraded()
{
    return generator->degraded();
}

static int probe_not_live()
{
    return generator->not_live();
}

static int probe_other(const char *)
{
    return 0;
}
