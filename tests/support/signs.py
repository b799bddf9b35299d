"""A uevent of the kernel's, which root may have it send: to a network of its own.

Elsewhere every daemon of this machine would hear it.
"""

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Callable

# linux/netlink.h, linux/sched.h
_NETLINK_KOBJECT_UEVENT = 15
_NLMSG_MIN_TYPE = 0x10
_NLM_F_REQUEST = 1
_CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)

#: As vmgenid_notify of drivers/virt/vmgenid.c had it, and has it in Amazon's kernels.
NEW_GENERATION = (
    b"change@/devices/platform/VMGENCTR:00\0ACTION=change\0"
    b"DEVPATH=/devices/platform/VMGENCTR:00\0SUBSYSTEM=platform\0NEW_VMGENID=1\0"
)


def leave_network() -> None:
    """Give this thread, and what it starts, a network of its own; raises PermissionError."""
    if _libc.unshare(_CLONE_NEWNET):
        raise PermissionError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def in_own_network(call: Callable[[], None]) -> None:
    """Call it in a thread that has left the network; raises what it raises."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            leave_network()
            call()
        except BaseException as error:  # noqa: BLE001 (raised below)
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def may_send() -> bool:
    """Whether this process may have the kernel send a uevent, and to whom."""
    try:
        in_own_network(lambda: send_uevent(b"change@/hwentropy\0ACTION=change\0"))
    except PermissionError:
        return False
    return True


def send_uevent(fields: bytes) -> None:
    """Have the kernel broadcast a uevent; raises PermissionError (uevent_net_rcv_skb)."""
    head = struct.pack("=IHHII", 16 + len(fields), _NLMSG_MIN_TYPE, _NLM_F_REQUEST, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_KOBJECT_UEVENT) as sock:
        sock.bind((0, 0))
        sock.sendto(head + fields, (0, 0))
        # An error comes back at once, and nothing where all is well.
        sock.setblocking(False)
        try:
            answer = sock.recv(64)
        except BlockingIOError:
            return
    (number,) = struct.unpack_from("=i", answer, 16)
    if number:
        raise PermissionError(-number, "no uevent was sent")
