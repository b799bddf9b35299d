"""The command `hwentropyd`: options in, exit code out.

Exit codes: 0 told to stop, 1 could not go on, 2 usage or configuration,
3 another daemon serves the same sockets.
"""

import argparse
import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from hwentropy_core import VERSION, known_answers
from hwentropy_core.errors import HwentropyError
from hwentropy_core.known_answers import KnownAnswerError
from hwentropy_core.paths import ENVIRONMENT_VARIABLE, daemon_runtime_dir, daemon_state_dir
from hwentropy_sources import discovery

from . import confinement
from .child import Children
from .collector import reach
from .config.load import DEFAULT_FILE, ConfigError, load
from .config.schema import Config
from .events.clones import CloneWatch
from .operating import logs, streams
from .operating.control import Control
from .operating.greeting import greet
from .operating.notify import Notifier
from .operating.signals import StopSignals
from .role import Role
from .sampling.remote import table_check
from .serving.listeners import AlreadyServedError, Listeners, SocketError
from .supervisor import KNOWN_ANSWERS, Supervisor

log = logging.getLogger(__name__)

#: Descriptors of a worker that are no client's: standard streams, channel, page,
#: epoll set, and one on its way; with as many again to spare.
WORKER_DESCRIPTORS: Final = 16

#: Descriptors of the supervisor beside those of workers and sources: 3 standard streams,
#: 3 of the event loop and 2 by which a signal wakes it, 3 sockets and their lock, the page,
#: the template's channel, 4 that signs of a copied machine come by, and 8 while it executes a
#: template or starts a child.
SUPERVISOR_DESCRIPTORS: Final = 26
#: Those of a child: its channel, the report of its end, its process.
CHILD_DESCRIPTORS: Final = 3
#: Those of a source: its device, and the bus it is found by; or a child's.
SOURCE_DESCRIPTORS: Final = 3

EXIT_STOPPED, EXIT_FAILED, EXIT_USAGE, EXIT_ALREADY_SERVED = range(4)


def main(
    arguments: Sequence[str] | None = None,
    signals: StopSignals | None = None,
    children: Children | None = None,
) -> int:
    """Run the daemon in the foreground; returns its exit code.

    `signals` says whether it was told to stop already; without it no signal is heard.
    `children` may be on their way already.
    """
    signals = signals or StopSignals()
    children = children or Children()
    with contextlib.closing(children):
        options = _parser().parse_args(arguments)
        logs.set_up(options.log_level)
        children.log_level = options.log_level
        code = _run(options, signals, children)
    if code == EXIT_STOPPED and not options.check_config:
        streams.finish(streams.STOP_SECONDS)
        # A sampler's thread may be stuck in a device for ever; nothing is left to do.
        os._exit(code)
    return code


def _run(options: argparse.Namespace, signals: StopSignals, children: Children) -> int:
    try:
        config = load(options.config, table_check(children, strict=options.check_config))
    except ConfigError as error:
        return _complain(error, EXIT_USAGE)
    for warning in config.warnings:
        log.warning("%s", warning)
    if options.check_config:
        names = ", ".join(str(file) for file in config.files) or "built-in defaults"
        print(f"configuration fine: {names}")
        return EXIT_STOPPED
    try:
        known_answers.check(KNOWN_ANSWERS)
    except KnownAnswerError as error:
        return _complain(error, EXIT_FAILED)
    confinement.protect_memory()
    limit = confinement.raise_descriptor_limit()
    if limit < (needed := _descriptors_needed(config)):
        return _complain(
            f"a process may have {limit} descriptors only, and the supervisor needs {needed}: "
            "raise the limit (LimitNOFILE=, ulimit -Hn)",
            EXIT_FAILED,
        )
    config = _within_descriptors(limit, config)
    notifier = Notifier()
    directory = (options.runtime_dir or daemon_runtime_dir()).absolute()
    if signals.received:
        return EXIT_STOPPED
    try:
        listeners = Listeners(directory)
    except AlreadyServedError as error:
        return _complain(error, EXIT_ALREADY_SERVED)
    except SocketError as error:
        return _complain(error, EXIT_FAILED)
    state = daemon_state_dir(runtime=options.runtime_dir).absolute()
    if config.seed_log.enabled:
        with contextlib.suppress(OSError):  # who opens the log there says so
            state.mkdir(mode=0o750, parents=True, exist_ok=True)
    try:
        # Opened before the rights to do so are given up.
        with contextlib.closing(CloneWatch(listeners.kernel_log)) as clones:
            asyncio.run(_serve(config, listeners, notifier, signals, children, state, clones))
    except HwentropyError as error:
        return _complain(error, EXIT_USAGE)
    finally:
        listeners.close()
    return EXIT_STOPPED


async def _serve(
    config: Config,
    listeners: Listeners,
    notifier: Notifier,
    signals: StopSignals,
    children: Children,
    state: Path,
    clones: CloneWatch,
) -> None:
    supervisor = Supervisor(config, listeners, notifier, children, state, clones)
    control = Control(supervisor)
    servers = [
        control.serve(listener.sock)
        for listener in listeners.sockets
        if listener.role is Role.CONTROL
    ]
    _confine(config, listeners, state)
    try:
        with signals.calling(supervisor.stop, asyncio.get_running_loop()):
            await supervisor.run(greet)
    finally:
        for server in servers:
            server.close()


def _confine(config: Config, listeners: Listeners, state: Path) -> None:
    """Give up what is not needed any more, before the first thread is started."""
    for lack in confinement.missing():
        log.warning("%s", lack)
    if any(setup.kind == "hwrng" for setup in config.sources):
        discovery.prepare()
    confinement.confine_supervisor(
        reach.of_supervisor((setup.kind, setup.table) for setup in config.sources),
        runtime={listener.path.parent for listener in listeners.sockets},
        state={state} if config.seed_log.enabled else (),
        read=config.files,
        reseeds_kernel=any(setup.kind == "cpu" for setup in config.sources),
    )
    streams.release()


def _descriptors_needed(config: Config) -> int:
    sources = SOURCE_DESCRIPTORS * len(config.sources)
    return SUPERVISOR_DESCRIPTORS + CHILD_DESCRIPTORS * config.server.workers + sources


def _within_descriptors(limit: int, config: Config) -> Config:
    """The configuration with no more connections than the workers can hold.

    Shares of what is not there would let one user have all that is.
    """
    server = config.server
    room = (limit - WORKER_DESCRIPTORS) * server.workers
    if room >= server.max_connections:
        return config
    log.warning(
        "a process may have %d descriptors only, so %d connections are served and not the "
        "%d of server.max_connections: raise the limit (LimitNOFILE=, ulimit -Hn)",
        limit,
        room,
        server.max_connections,
    )
    server = msgspec.structs.replace(server, max_connections=room)
    return msgspec.structs.replace(config, server=server)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hwentropyd",
        description="Serve random bytes from this machine's noise sources over Unix sockets.",
        epilog="Exit codes: 0 stopped, 1 failed, 2 usage or configuration, 3 already served.",
    )
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help=f"configuration, with drop-ins in FILE.d/*.toml (default: {DEFAULT_FILE})",
    )
    parser.add_argument(
        "--check-config", action="store_true", help="check the configuration and exit"
    )
    parser.add_argument(
        "--runtime-dir",
        type=_directory,
        metavar="DIR",
        help=f"where the sockets go (default: ${ENVIRONMENT_VARIABLE}, {daemon_runtime_dir()})",
    )
    parser.add_argument(
        "--log-level",
        choices=("debug", "info", "warning", "error"),
        default="info",
        help="what is worth a line on standard error (default: info)",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {VERSION}")
    return parser


def _directory(text: str) -> Path:
    if not text:
        # Path("") is the working directory: an unset shell variable, meant by nobody.
        raise argparse.ArgumentTypeError("it is empty; name a directory")
    return Path(text)


def _complain(error: Exception | str, code: int) -> int:
    print(f"hwentropyd: {error}", file=sys.stderr)
    return code
