"""How a connection ends: deliver what is owed, send FIN, discard what still comes, close.

Closing while input is unread makes the kernel send RST (RFC 2525, 2.17), and the peer then loses bytes that were on
their way to it. So the server reads on for a while after its FIN, and throws away what it reads.
"""

from __future__ import annotations

from typing import Final

import gevent
from gevent import socket

from geventecho.net import undelivered, unread, unsent, wait_ready
from geventecho.server.connection import RECEIVE_SIZE, Connection

__all__ = ["LINGER_BYTES", "LINGER_MAX", "LINGER_SECONDS", "destroyed_by_close", "finish"]

LINGER_SECONDS: Final = 1.0
"""How long to wait for the peer: to take what is owed, and after the FIN to send its own."""
LINGER_BYTES: Final = 1 << 20
"""How much to read and discard after the FIN."""
LINGER_MAX: Final = 10.0
"""How long a peer that still acknowledges bytes may take for them, in seconds after the FIN."""
POLL: Final = 0.01


def finish(connection: Connection) -> None:
    """End the stream in order, from the connection's own greenlet; closing the socket is left to the caller.

    Raises:
        OSError: the connection broke.
        Cut: it was told to go now, by a drain or because the peer did not take in time what it is owed.
    """
    connection.flush()
    connection.end_stream()
    _discard(connection)


def destroyed_by_close(connection: Connection, *, reset: bool) -> int:
    """How many bytes that the kernel took for the peer are destroyed by closing now.

    Args:
        connection: the connection, not yet closed.
        reset: whether it will be closed by RST in any case; else that is what close(2) sends when input is unread, or
            when more comes after it (RFC 2525, 2.17). Whether more will come is judged by whether it has just done so.
    """
    sock = connection.sock
    if sock.closed or connection.is_local:
        return 0  # what a Unix peer was sent stays readable
    try:
        sending = connection.discarded_at > connection.clock.now - LINGER_SECONDS / 2
        if reset or sending or unread(sock.fileno()):
            return undelivered(sock)
    except OSError:
        pass  # it broke: nothing can be asked of it
    return 0


def _discard(connection: Connection) -> None:
    """Read until the peer's FIN, LINGER_SECONDS or LINGER_BYTES, then until it has acknowledged what is on its way."""
    sock, clock = connection.sock, connection.clock
    end = clock.now + LINGER_SECONDS
    waiting = unsent(sock.fileno())
    taken = 0
    while taken < LINGER_BYTES:
        try:
            data = connection.discard(RECEIVE_SIZE)
        except BlockingIOError:
            # First read all that is left: bytes that came in a pause of the process came in time.
            if clock.now >= end:
                break
            wait_ready(sock._read_event, max(POLL, end - clock.now))
            continue
        if not data:
            return
        taken += len(data)
    if connection.is_local:
        _refuse_more(connection)
    _await_acknowledgement(connection, waiting, end)


def _refuse_more(connection: Connection) -> None:
    """Take what a Unix peer has queued, and make its next write fail (EPIPE).

    To close while input is unread would put ECONNRESET before the FIN that it has yet to read (unix(7)); a TCP peer
    reads its FIN first.
    """
    connection.sock._sock.shutdown(socket.SHUT_RD)
    while connection.discard(RECEIVE_SIZE):
        pass


def _await_acknowledgement(connection: Connection, waiting: int, end: float) -> None:
    """Wait until nothing is on its way, for as long as the peer acknowledges some of it every LINGER_SECONDS.

    Whether a FIN was acknowledged is no event that epoll(7) reports, so this asks. A peer that sends its own FIN in
    time never gets here.
    """
    last = end + LINGER_MAX - LINGER_SECONDS
    while (still := unsent(connection.sock.fileno())) and connection.clock.now < last:
        if still < waiting:
            waiting, end = still, connection.clock.now + LINGER_SECONDS
        elif connection.clock.now >= end:
            return
        gevent.sleep(POLL)
