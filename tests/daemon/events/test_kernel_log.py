"""The kernel's line of a copied machine, among all the other lines there are."""

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pytest_mock import MockerFixture

from hwentropyd.events import kernel_log
from hwentropyd.events.kernel_log import LINE, KernelLog, says_copied
from hwentropyd.events.sign import UnwatchedError

#: As Linux 6.1 wrote it under QEMU.
RECORD = b"5,412,7310022,-;" + LINE + b"\n"


@pytest.mark.parametrize(
    "record",
    [RECORD, b"6,1,2,-;" + LINE + b"\n", b"5,1,2,c,more;" + LINE + b"\n SUBSYSTEM=x\n"],
)
def test_the_kernels_own_line_is_a_sign(record: bytes) -> None:
    """Of any level, with or without more fields and lines."""
    assert says_copied(record)


@pytest.mark.parametrize(
    "record",
    [
        b"",
        b";",
        b"5,412,7310022,-;random: crng init done\n",
        b"13,412,7310022,-;" + LINE + b"\n",  # facility 1: a program wrote it
        b"-3,412,7310022,-;" + LINE + b"\n",
        b"5,412,7310022,-;usb 1-1: Product: " + LINE + b"\n",
        b"5,412,7310022,-;something\n " + LINE + b"\n",
        b"5,412,7310022,-;" + LINE + b" not\n",
    ],
)
def test_nobody_elses_is(record: bytes) -> None:
    """Not what a program, a device's name or a later line of a record has in it."""
    assert not says_copied(record)


@given(st.binary())
def test_any_bytes_have_an_answer(record: bytes) -> None:
    """And without the line it is no."""
    assert says_copied(record) <= (LINE in record)


@pytest.fixture
def written(mocker: MockerFixture) -> Iterator[socket.socket]:
    """Where a test writes records, one a datagram; the log reads the other end."""
    mocker.patch("hwentropyd.events.kernel_log.os.lseek")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mocker.patch("hwentropyd.events.kernel_log.os.open", return_value=theirs.detach())
    with ours:
        yield ours


def test_each_record_is_read_once(written: socket.socket) -> None:
    """One look reads all there are; the sign is told of once."""
    log = kernel_log.watch()
    assert not log.look()
    written.send(b"6,1,2,-;usb 1-1: new device\n")
    assert not log.look()
    for record in (b"6,2,3,-;one\n", RECORD, b"6,3,4,-;another\n"):
        written.send(record)
    assert log.look()
    assert not log.look()
    log.close()


@pytest.mark.usefixtures("written")
def test_lost_records_are_a_sign(mocker: MockerFixture) -> None:
    """What was overwritten before it was read may have been the line."""
    log = kernel_log.watch()
    came = [OSError(errno.EPIPE, "lost"), b"6,9,9,-;later\n", BlockingIOError()]
    read = mocker.patch("hwentropyd.events.kernel_log.os.read", side_effect=came)
    assert log.look()
    assert read.call_count == 3
    log.close()


@pytest.mark.usefixtures("written")
def test_another_error_is_its_callers(mocker: MockerFixture) -> None:
    """The log cannot be read any more, which is not that there is nothing."""
    log = kernel_log.watch()
    mocker.patch("hwentropyd.events.kernel_log.os.read", side_effect=OSError(errno.EIO, "x"))
    with pytest.raises(OSError, match="x"):
        log.look()
    log.close()


def test_what_may_not_be_read_says_what_would_let_it(mocker: MockerFixture) -> None:
    """As with kernel.dmesg_restrict and without CAP_SYSLOG."""
    refused = PermissionError(errno.EPERM, "Operation not permitted")
    mocker.patch("hwentropyd.events.kernel_log.os.open", side_effect=refused)
    with pytest.raises(UnwatchedError, match=r"Operation not permitted.*CAP_SYSLOG.*OpenFile="):
        kernel_log.watch()


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    """A container without the device."""
    with pytest.raises(UnwatchedError, match=r"kmsg cannot be read \(No such file"):
        kernel_log.watch(tmp_path / "kmsg")


def _may(mode: str) -> bool:
    try:
        with kernel_log.PATH.open(mode, buffering=0):
            return kernel_log.PATH.is_char_device()
    except OSError:
        return False


@pytest.mark.skipif(not _may("rb"), reason="/dev/kmsg cannot be read here")
def test_the_real_log_is_read_from_its_end() -> None:
    """What was written before is no sign, and whoever opened it need not wait."""
    log = KernelLog(os.open(kernel_log.PATH, os.O_RDONLY | os.O_CLOEXEC))
    assert not os.get_blocking(log.wakes)
    assert not log.look()
    log.close()


@pytest.mark.skipif(not (_may("rb") and _may("wb")), reason="it takes root")
def test_what_a_program_writes_to_the_real_log_is_read_and_no_sign() -> None:
    """The kernel marks it as a program's, whatever it claims to be."""
    log, plain = kernel_log.watch(), kernel_log.watch()
    with kernel_log.PATH.open("wb", buffering=0) as device:
        device.write(b"<5>" + LINE + b"\n")
    records: list[bytes] = []
    while True:
        try:
            records.append(os.read(plain.wakes, kernel_log.RECORD_BYTES))
        except BlockingIOError:
            break
    assert any(LINE in record for record in records)
    assert not log.look()
    log.close()
    plain.close()
