"""SO_LINGER: whether close(2) sends FIN or RST, and whether it waits (socket(7))."""

from __future__ import annotations

import struct
from typing import Final

from gevent import socket

__all__ = ["abort", "drop_at_close", "linger_time", "never_linger"]

# struct linger: l_onoff, and l_linger in seconds.
LINGER: Final = struct.Struct("=2i")


def abort(sock: socket.socket) -> None:
    """Close with RST instead of FIN and drop the queued bytes."""
    drop_at_close(sock)
    sock.close()


def drop_at_close(sock: socket.socket) -> None:
    """Let close(2) send RST and drop the queued bytes (SO_LINGER with a time of 0)."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.pack(1, 0))
    except OSError:
        pass  # the connection is already gone: only the close is left


def linger_time(sock: socket.socket) -> int | None:
    """Seconds that close(2) waits for the peer to acknowledge. 0: it sends RST. None: it does not wait.

    Raises:
        OSError: the socket is closed.
    """
    enabled, seconds = LINGER.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER.size))
    return seconds if enabled else None


def never_linger(sock: socket.socket) -> None:
    """Let close(2) return at once. With SO_LINGER it waits, although the socket does not block."""
    try:
        if linger_time(sock):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes(LINGER.size))
    except OSError:
        pass  # the socket is closed already
