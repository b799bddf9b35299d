"""The kernel's uevent of a copied machine, to the parser and from the real kernel."""

import select
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hwentropyd.events import uevents
from hwentropyd.events.uevents import NETLINK_KOBJECT_UEVENT, Uevents, says_copied
from support.signs import NEW_GENERATION, in_own_network, may_send, send_uevent

PATIENCE_MS = 20_000


def test_the_kernels_event_is_a_sign() -> None:
    """As its driver sends it, with the number that the kernel adds."""
    assert says_copied(NEW_GENERATION)
    assert says_copied(NEW_GENERATION + b"SEQNUM=4711\0")


@pytest.mark.parametrize(
    "datagram",
    [
        b"",
        NEW_GENERATION.replace(b"NEW_VMGENID=1", b"SYNTH_ARG_NEW_VMGENID=1"),
        NEW_GENERATION.replace(b"NEW_VMGENID=1", b"OLD_NEW_VMGENID=1"),
        NEW_GENERATION.replace(b"change@", b"add@"),
        b"libudev\0" + NEW_GENERATION,
        b"change@/devices/NEW_VMGENID=1",
    ],
)
def test_no_other_is(datagram: bytes) -> None:
    """Not one that was written to a file `uevent`, udevd's, or another's."""
    assert not says_copied(datagram)


@given(st.binary())
def test_any_bytes_have_an_answer(datagram: bytes) -> None:
    """And without the key it is no."""
    assert says_copied(datagram) <= (b"NEW_VMGENID=1" in datagram)


root = pytest.mark.skipif(not may_send(), reason="only root may have the kernel send")


def heard(watcher: Uevents, marker: bytes) -> bool:
    """Whether there was a sign among all that came up to an event of ours."""
    send_uevent(b"change@/hwentropy-" + marker + b"\0ACTION=change\0")
    poll = select.poll()
    poll.register(watcher.wakes)
    assert poll.poll(PATIENCE_MS), "nothing came"
    return watcher.look()


@root
def test_the_kernels_word_is_heard() -> None:
    """Over the real netlink, without udevd, once."""

    def listen() -> None:
        watcher = uevents.watch()
        send_uevent(NEW_GENERATION)
        assert heard(watcher, b"one")
        assert not heard(watcher, b"two")
        watcher.close()

    in_own_network(listen)


@root
def test_nobody_elses_word_is_taken_for_the_kernels() -> None:
    """Root of a network namespace may send to the kernel's listeners, as itself."""

    def listen() -> None:
        watcher = uevents.watch()
        kind = socket.AF_NETLINK, socket.SOCK_DGRAM, NETLINK_KOBJECT_UEVENT
        with socket.socket(*kind) as sock:
            sock.bind((0, 0))
            sock.sendto(NEW_GENERATION, (0, 1))
        assert not heard(watcher, b"one")
        watcher.close()

    in_own_network(listen)
