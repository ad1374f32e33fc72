"""The meaning of an errno: a failed connect, read or write becomes an error of `geventecho.errors`."""

from __future__ import annotations

import errno
import socket as stdlib_socket
from typing import Final

from geventecho import errors
from geventecho.address import Address

__all__ = ["is_broken", "translate_connect", "translate_io"]

UNREACHABLE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
# The connection broke: the peer sent RST, keep-alive or retransmission gave up, or a router reported an error.
BROKEN: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ETIMEDOUT, errno.ENOTCONN})


def is_broken(error: OSError) -> bool:
    """Whether an error of a read or a write means that the connection broke."""
    # A handler may raise an OSError of its own, without a number.
    return error.errno in BROKEN or isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError)


def translate_connect(error: OSError, address: Address) -> errors.ConnectError:
    """Return the error of a failed resolve or connect."""
    kind, reason = _failed_connect(error)
    phase = "dns" if kind is errors.ResolveError else "connect"
    return kind(reason, address=address, phase=phase, errno=error.errno)


def _failed_connect(error: OSError) -> tuple[type[errors.ConnectError], str]:
    reason = error.strerror or str(error)
    if isinstance(error, stdlib_socket.gaierror):
        return errors.ResolveError, f"the name cannot be resolved ({error.strerror})"
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):  # a Unix server removes its path when it stops
        kind = errors.NoSuchSocket if error.errno == errno.ENOENT else errors.ConnectRefused
        return kind, f"{kind.kind}: nobody listens there; is the server running?"
    if isinstance(error, ConnectionResetError):
        return errors.ConnectReset, "reset as soon as it was made: the server may be full, or be stopping"
    if isinstance(error, TimeoutError):
        return errors.ConnectTimeout, "no answer in time"
    if error.errno in UNREACHABLE:
        return errors.ConnectUnreachable, reason
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return errors.OutOfResources, "no descriptor is left in this process; raise `ulimit -n`"
    if error.errno == errno.EADDRNOTAVAIL:
        reason = "no local port is left (see net.ipv4.ip_local_port_range), or the address is not of this machine"
        return errors.OutOfResources, reason
    return errors.ConnectError, reason


def translate_io(error: OSError, address: Address | None, phase: str) -> errors.NetworkError:
    """Return the error of a failed read or write. `phase` is "read" or "write"."""
    if isinstance(error, errors.NetworkError):
        return error
    kind, reason = errors.NetworkError, error.strerror or str(error)
    if error.errno == errno.EBADF:
        # gevent's close() wakes a waiter with EBADF.
        kind, reason = errors.ClosedLocally, "the connection is closed on this side"
    elif error.errno in BROKEN:
        kind = errors.PeerReset
    return kind(reason, address=address, phase=phase, errno=error.errno)
