"""The hub's part of the echo: it returns whole messages without waking the connection's greenlet.

gevent's own recv() tries the syscall, takes an exception, starts a watcher, waits and stops the watcher, for every
message. Here a connection's read watcher stays armed while its greenlet sleeps. When there is something to read, the
watcher's callback returns one message. It wakes the greenlet for everything else: the end of the stream, an error, a
peer that does not take its bytes, a limit. Two switches for each message, and the caches that they leave cold, were
half of the user CPU: a message took 3.9 us with them and takes 2.0 us without them; recv/sendall takes 14 us (1 KiB,
1,000 connections).

This is safe because an accepted socket has one owner, which waits for nothing else. The rules:

- arm the watcher in one place, under try/finally: a greenlet that dies while it is armed leaves a watcher that fires
  for ever;
- the callback is a bound method of the greenlet, because close() from elsewhere finds the greenlet to wake by it;
- the greenlet waits for nothing else while the watcher is armed, and the callback never waits (no sleep, lock or log);
- a wake-up without data is normal.
"""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Final

import gevent
from gevent import get_hub, getcurrent
from greenlet import greenlet

from geventecho.server.connection import RECEIVE_SIZE, Clock, Connection
from geventecho.server.counters import Ending, Traffic
from geventecho.server.deadlines import Deadlines
from geventecho.server.splice import Pipe

__all__ = ["SharedBuffers", "echo_in_hub"]

LARGE: Final = 16384
"""Bytes from which a message goes through the pipe. The next messages do, too, until one has less than half of that."""

Route = tuple[Callable[[memoryview], int], Callable[[memoryview], int], int, int, memoryview, Clock, Traffic]
"""How to receive a message and how to send it; the sizes that the hub returns alone, from the one to below the other;
the buffer; the connection's clock and the server's traffic, which the hub needs for each message."""


class SharedBuffers:
    """What carries the messages of a server's connections, never for longer than one callback.

    One buffer for all saves the allocation of 64 KiB for each message, a tenth of the user CPU. All connections must be
    of one hub: recv(2) and splice(2) run without the interpreter's lock.

    Attributes:
        hub: the hub.
        buffer: memory; what it holds is sent, or copied, before another connection runs.
        pipe: for large messages.
    """

    __slots__ = ("buffer", "hub", "pipe")

    def __init__(self) -> None:
        self.hub = get_hub()
        self.buffer = memoryview(bytearray(RECEIVE_SIZE))
        self.pipe = Pipe()


def echo_in_hub(connection: Connection, deadlines: Deadlines, buffers: SharedBuffers) -> Ending:
    """Do what `echo` does.

    One message in a turn, also when more is there to read: a flooding peer gets as much as everybody else.
    """
    # The gevent socket's own watcher, not a second one: it saves memory, and close() knows of it.
    sock, watcher = connection.sock, connection.sock._read_event
    hub, owner = get_hub(), getcurrent()
    assert hub is buffers.hub, "another hub's connections use these buffers"  # noqa: S101
    return_message = MethodType(_return_message, owner)
    meter = connection.meter
    buffer = buffers.buffer if meter is None else buffers.buffer[: meter.window]
    below, clock, traffic = LARGE if meter is None else 1, connection.clock, connection.traffic
    copied: Route = (sock._sock.recv_into, sock._sock.send, 1, below, buffer, clock, traffic)
    route, spliced = copied, None  # spliced from the first large message on
    try:
        while True:
            watcher.start(return_message, connection, *route)
            size = hub.switch()
            watcher.stop()
            if not size:
                return Ending.PEER
            if connection.pending is not None:
                deadlines.watch(connection)
                connection.flush()
            if meter is not None:
                pause = meter.spend(size)
                if not meter.window:
                    return Ending.BYTES
                route = (*copied[:4], buffers.buffer[: meter.window], clock, traffic)
                gevent.sleep(pause)
            elif size < LARGE // 2:
                route = copied
            elif size >= LARGE and route is copied:
                spliced = spliced or buffers.pipe.enter(sock)
                route = (spliced.receive, spliced.send, LARGE // 2, RECEIVE_SIZE + 1, buffer, clock, traffic)
    finally:
        watcher.stop()
        if spliced is not None:
            spliced.leave()


def _return_message(
    owner: greenlet,
    connection: Connection,
    receive: Callable[[memoryview], int],
    send: Callable[[memoryview], int],
    least: int,
    below: int,
    buffer: memoryview,
    clock: Clock,
    traffic: Traffic,
) -> None:
    """Return one message, in the hub. Wake the owner with its size when that is not all there is to do."""
    try:
        size = receive(buffer)
        if size:
            connection.last_byte_at = clock.now
            try:
                sent = send(buffer[:size])
            except BlockingIOError:
                sent = 0
            except BaseException:
                connection.count_read(size)
                raise
            if sent == size:
                connection.echoed += size
                traffic.echoed += size
                if least <= size < below:
                    return
            else:
                connection.count_read(size)
                connection.count_written(sent)
                connection.pending = memoryview(bytes(buffer[sent:size]))
    except BlockingIOError:
        return
    except BaseException as error:  # whatever it is, it is this connection's: the hub would only print it
        owner.throw(type(error), error, error.__traceback__)
        return
    owner.switch(size)
