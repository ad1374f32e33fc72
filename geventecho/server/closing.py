"""How a connection ends: deliver the owed bytes, send FIN, discard later bytes, close.

Closing while input is unread makes the kernel send RST (RFC 2525, 2.17), and the peer then loses bytes that are on
their way to it. So the server goes on reading for a while after its FIN, and discards these bytes.
"""

from __future__ import annotations

from typing import Final

import gevent
from gevent import socket

from geventecho.net import undelivered, unread, unsent, wait_ready
from geventecho.server.connection import RECEIVE_SIZE, Connection

__all__ = ["LINGER_BYTES", "LINGER_MAX", "LINGER_SECONDS", "destroyed_by_close", "finish"]

LINGER_SECONDS: Final = 1.0
"""How long to wait for the peer: to take the owed bytes, and after our FIN to send its FIN."""
LINGER_BYTES: Final = 1 << 20
"""How much to read and discard after our FIN."""
LINGER_MAX: Final = 10.0
"""Seconds after our FIN in which a peer that goes on acknowledging bytes has to acknowledge all of them."""
POLL: Final = 0.01  # seconds


def finish(connection: Connection) -> None:
    """End the stream in order, in the connection's own greenlet. The caller closes the socket.

    Raises:
        OSError: the connection broke.
        Cut: a drain cut it, or the peer did not take the owed bytes in time.
    """
    connection.flush()
    connection.end_stream()
    _discard(connection)


def destroyed_by_close(connection: Connection, *, reset: bool) -> int:
    """Return the number of bytes in the kernel that closing now would destroy.

    Args:
        connection: the connection, not yet closed.
        reset: whether it will be closed by RST in any case. Otherwise close(2) sends RST when input is unread, or when
            more arrives afterwards (RFC 2525, 2.17). More input is expected if some has just arrived.
    """
    sock = connection.sock
    if sock.closed or connection.is_local:
        return 0  # a Unix peer can still read the sent bytes
    try:
        is_sending = connection.discarded_at > connection.clock.now - LINGER_SECONDS / 2
        if reset or is_sending or unread(sock.fileno()):
            return undelivered(sock)
    except OSError:
        pass  # the connection broke: the kernel has no figures
    return 0


def _discard(connection: Connection) -> None:
    """Read until the peer's FIN, LINGER_SECONDS or LINGER_BYTES; then wait until our bytes are acknowledged."""
    sock, clock = connection.sock, connection.clock
    end = clock.now + LINGER_SECONDS
    unacknowledged = unsent(sock.fileno())
    discarded = 0
    while discarded < LINGER_BYTES:
        try:
            data = connection.discard(RECEIVE_SIZE)
        except BlockingIOError:
            # Read all queued bytes first: bytes that arrived during a pause of the process are in time.
            if clock.now >= end:
                break
            wait_ready(sock._read_event, max(POLL, end - clock.now))
            continue
        if not data:
            return
        discarded += len(data)
    if connection.is_local:
        _refuse_more(connection)
    _await_acknowledgement(connection, unacknowledged, end)


def _refuse_more(connection: Connection) -> None:
    """Read the bytes that a Unix peer has queued, and make its next write fail (EPIPE).

    If input is unread at close(2), a Unix peer reads ECONNRESET before our FIN (unix(7)). A TCP peer reads the FIN
    first.
    """
    connection.sock._sock.shutdown(socket.SHUT_RD)
    while connection.discard(RECEIVE_SIZE):
        pass


def _await_acknowledgement(connection: Connection, unacknowledged: int, end: float) -> None:
    """Wait until all bytes are acknowledged, for as long as the peer acknowledges some every LINGER_SECONDS.

    epoll(7) does not report the acknowledgement of a FIN, so this polls. It is not called when the peer has sent its
    FIN in time.
    """
    last = end + LINGER_MAX - LINGER_SECONDS
    while (rest := unsent(connection.sock.fileno())) and connection.clock.now < last:
        if rest < unacknowledged:
            unacknowledged, end = rest, connection.clock.now + LINGER_SECONDS
        elif connection.clock.now >= end:
            return
        gevent.sleep(POLL)
