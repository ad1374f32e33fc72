"""How a connection ends: deliver what is owed, send FIN, discard what still comes, close.

Closing while input is unread makes the kernel send RST (RFC 2525, 2.17), and the peer then loses bytes that were on
their way to it. So the server reads on for a while after its FIN, and throws away what it reads.
"""

from __future__ import annotations

import time
from typing import Final

import gevent
from gevent import socket

from geventecho.connection import Connection
from geventecho.echo import RECEIVE_SIZE, flush
from geventecho.kernel import unsent

__all__ = ["LINGER_BYTES", "LINGER_MOST", "LINGER_SECONDS", "finish"]

LINGER_SECONDS: Final = 1.0
"""How long to wait for the peer: to take what is owed, and after the FIN to send its own."""
LINGER_BYTES: Final = 1 << 20
"""How much to read and discard after the FIN."""
LINGER_MOST: Final = 10.0
"""How long a peer that still acknowledges bytes owed to it may take, in seconds after the FIN."""
POLL: Final = 0.01


def finish(connection: Connection, *, flush_seconds: float | None) -> None:
    """End the stream in order, from the connection's own greenlet; closing the socket is left to the caller.

    Args:
        connection: the connection.
        flush_seconds: how long the peer may go without taking a byte that is owed; None is until it is cut.

    Raises:
        OSError: the connection broke, or the peer took nothing in time.
        Cut: it was told to go now.
    """
    if connection.pending is not None:
        with gevent.Timeout(flush_seconds, TimeoutError("the peer took nothing")):
            flush(connection)
    connection.sock._sock.shutdown(socket.SHUT_WR)
    _discard(connection)


def _discard(connection: Connection) -> None:
    """Read until the peer's FIN, LINGER_SECONDS or LINGER_BYTES, then until it has acknowledged what is on its way."""
    sock = connection.sock
    end = time.monotonic() + LINGER_SECONDS
    waiting = unsent(sock.fileno())
    while connection.discarded < LINGER_BYTES:
        left = end - time.monotonic()
        try:
            data = sock._sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            if left <= 0 or not _readable(sock, left):
                break
            continue
        if not data:
            return
        connection.discarded += len(data)
        if left <= 0:
            break
    _await_acknowledgement(sock.fileno(), waiting, end)


def _readable(sock: socket.socket, seconds: float) -> bool:
    try:
        socket.wait(sock._read_event, timeout=seconds)
    except TimeoutError:
        return False
    return True


def _await_acknowledgement(fd: int, waiting: int, end: float) -> None:
    """Wait until nothing is on its way, for as long as the peer acknowledges some of it every LINGER_SECONDS.

    Whether a FIN was acknowledged is no event that epoll(7) reports, so this asks. A peer that sends its own FIN in
    time never gets here.
    """
    last = end + LINGER_MOST - LINGER_SECONDS
    while True:
        now, still = time.monotonic(), unsent(fd)
        if still < waiting:
            waiting, end = still, now + LINGER_SECONDS
        if not still or now >= min(end, last):
            return
        gevent.sleep(POLL)
