"""A network of its own for a comparison, so that the machine's network settings do not decide the result.

A congestion control may pace the output (BBR does), also on loopback: server and driver then wait for timers, and the
figures are those of the pacing. A namespace (network_namespaces(7)) has only loopback, and this module sets its
congestion control to reno. Every kernel has reno and lets any namespace choose it; cubic may be reserved for the
machine's own network (tcp_allowed_congestion_control in tcp(7)). Without losses the two behave alike.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
from pathlib import Path
from typing import Final

__all__ = ["PACED", "congestion_control", "separate"]

PACED: Final = frozenset({"bbr"})
"""The congestion controls that pace the output."""

CONGESTION_CONTROL: Final = Path("/proc/sys/net/ipv4/tcp_congestion_control")
CLONE_NEWNET: Final = 0x40000000  # unshare(2)
CLONE_NEWUSER: Final = 0x10000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1  # netdevice(7)
INTERFACE: Final = "16sh14x"  # struct ifreq: name, flags, padding


def congestion_control() -> str:
    """The congestion control of new sockets in this network."""
    return CONGESTION_CONTROL.read_text().strip()


def separate() -> str | None:
    """Move this process and its future children to a network with nothing but loopback and reno.

    Root may do this, and so may other users where unprivileged user namespaces are allowed. The process must have one
    thread.

    Returns:
        None, or the reason of a failure. After a failure the process may be in the new network or not.
    """
    try:
        _leave()
        _loopback_up()
        CONGESTION_CONTROL.write_text("reno")
    except OSError as error:
        return f"no network namespace of its own ({error})"
    return None


def _leave() -> None:
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        _unshare(CLONE_NEWNET)
        return
    _unshare(CLONE_NEWUSER | CLONE_NEWNET)
    # The process that made a user namespace is root in it once it is mapped (user_namespaces(7)).
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"0 {user} 1")
    Path("/proc/self/gid_map").write_text(f"0 {group} 1")


def _unshare(flags: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(flags) != 0:  # os.unshare() comes with Python 3.12
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        found = fcntl.ioctl(sock, SIOCGIFFLAGS, struct.pack(INTERFACE, b"lo", 0))
        _, flags = struct.unpack(INTERFACE, found)
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack(INTERFACE, b"lo", flags | IFF_UP))
