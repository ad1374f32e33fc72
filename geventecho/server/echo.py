"""The echo loop: a greenlet returns its peer's bytes until the peer's FIN (RFC 862)."""

from __future__ import annotations

import gevent

from geventecho.server.connection import RECEIVE_SIZE, Connection
from geventecho.server.counters import Ending
from geventecho.server.deadlines import Deadlines

__all__ = ["echo"]


def echo(connection: Connection, deadlines: Deadlines) -> Ending:
    """Echo in the connection's own greenlet.

    For a connection without a meter, `echo_in_hub` does the same in less CPU time: it leaves whole messages to the hub.

    Args:
        connection: an open connection, with its limits.
        deadlines: told when the connection begins to owe bytes that the peer does not take.

    Returns:
        The reason of the end: the peer sent its FIN, or the connection had received `max_bytes`.

    Raises:
        OSError: the connection broke.
        Ended: it was told to end.
    """
    meter = connection.meter
    size = RECEIVE_SIZE if meter is None else meter.window
    while True:
        data = connection.receive(size)
        if not data:
            return Ending.PEER
        connection.send(memoryview(data))
        if connection.pending is not None:
            deadlines.watch(connection)
            connection.flush()
        if meter is not None:
            pause, size = meter.spend(len(data)), meter.window
            if not size:
                return Ending.BYTES
            gevent.sleep(pause)
