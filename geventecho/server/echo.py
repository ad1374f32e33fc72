"""The loop: one accepted socket, until it ends, and why it ended.

Each connection has a greenlet, and a read watcher that stays armed while the greenlet sleeps. gevent's own recv() tries
the syscall, takes an exception, starts a watcher, waits and stops it for every message. Here the hub, when there is
something to read, returns one message on the greenlet's behalf, and wakes it for what is not a whole message there and
back: the end of the stream, an error, a peer that does not take its bytes, a limit. Two switches for each message and
what the interpreter finds cold after them were half of the user CPU: 3.9 us a message with them, 2.0 without, where
recv/sendall takes 14 (1 KiB, 1,000 connections).

An accepted socket has one owner that waits for nothing else, which is what makes it safe. Therefore:

- arm in one place, under try/finally: a greenlet that dies armed leaves a watcher that fires for ever;
- nothing in the loop may wait for anything else while armed, nor anything in the hub's part (no sleep, lock or log);
- a wake-up without data is normal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import gevent
from gevent import get_hub, getcurrent
from greenlet import greenlet

from geventecho.server.connection import Connection
from geventecho.server.counters import Ending
from geventecho.server.deadlines import Deadlines
from geventecho.server.splice import Pipe

__all__ = ["RECEIVE_SIZE", "Transit", "echo", "flush"]

RECEIVE_SIZE: Final = 65536
"""Bytes that a connection may receive in one turn, and so the most that one holds in this process."""
LARGE: Final = 16384
"""Bytes from which a message takes the way through the pipe; those that follow do too, until one has less than half."""

Way = tuple[Callable[[memoryview], int], Callable[[memoryview], int], int, int]
"""How a message comes and how it goes, and which sizes, from the one to below the other, the hub returns alone."""


class Transit:
    """Where the messages of a server's connections are between coming and going: never for longer than a turn.

    One buffer for all saves what allocating and shrinking 64 KiB costs for each message, a tenth of the user CPU. Hubs
    must not share one: recv(2) and splice(2) run without the interpreter's lock.

    Attributes:
        room: memory; it is sent on, or copied, before another connection runs.
        pipe: for large messages.
    """

    __slots__ = ("pipe", "room")

    def __init__(self) -> None:
        self.room = memoryview(bytearray(RECEIVE_SIZE))
        self.pipe = Pipe()


def echo(connection: Connection, deadlines: Deadlines, transit: Transit) -> Ending:
    """Return what the peer sends until it has sent all (RFC 862).

    One message in a turn, also when more is there to read: a flooding peer gets as much as everybody else.

    Raises:
        OSError: the connection broke.
        Ended: it was told to end.
    """
    # The gevent socket's own watcher, not a second one: it saves memory, and close() knows of it.
    sock, watcher = connection.sock, connection.sock._read_event
    owner, wait = getcurrent(), get_hub().switch
    meter = connection.meter
    room = transit.room if meter is None else transit.room[: meter.window]
    copied: Way = (sock._sock.recv_into, sock._sock.send, 1, LARGE if meter is None else 1)
    way, passage = copied, None  # of large messages, from the first of them on
    try:
        while True:
            watcher.start(_turn, connection, owner, *way, room)
            size = wait()
            watcher.stop()
            if not size:
                return Ending.PEER
            if connection.pending is not None:
                deadlines.watch(connection)
                flush(connection)
            if meter is not None:
                pause = meter.spend(size)
                room = transit.room[: meter.window]
                if not room:
                    return Ending.BYTES
                gevent.sleep(pause)
            elif size < LARGE // 2:
                way = copied
            elif size >= LARGE and way is copied:
                passage = passage or transit.pipe.enter(sock)
                way = (passage.receive, passage.send, LARGE // 2, RECEIVE_SIZE + 1)
    finally:
        watcher.stop()
        if passage is not None:
            passage.leave()


def _turn(
    connection: Connection,
    owner: greenlet,
    receive: Callable[[memoryview], int],
    send: Callable[[memoryview], int],
    least: int,
    below: int,
    room: memoryview,
) -> None:
    """Return one message, in the hub; where that is not all there is to it, wake the owner with its size."""
    try:
        size = receive(room)
        if size:
            connection.received += size
            connection.progress = connection.clock.now
            try:
                sent = send(room[:size])
            except BlockingIOError:
                sent = 0
            connection.sent += sent
            if sent != size:
                connection.pending = memoryview(bytes(room[sent:size]))
            elif least <= size < below:
                return
    except BlockingIOError:
        return
    except BaseException as error:  # whatever it is, it is this connection's: the hub would only print it
        owner.throw(type(error), error, error.__traceback__)
        return
    owner.switch(size)


def flush(connection: Connection) -> None:
    """Send what is pending, as the peer takes it. On an error the rest stays pending.

    Raises:
        OSError: the connection broke.
        Ended: it was told to end.
    """
    rest = connection.pending
    if rest is None:
        return
    sock = connection.sock
    send = sock._sock.send
    clock = connection.clock
    wait = get_hub().switch
    watcher = sock._write_event
    watcher.start(getcurrent().switch)
    try:
        while rest:
            wait()
            try:
                sent = send(rest)
            except BlockingIOError:
                continue
            connection.sent += sent
            connection.progress = clock.now
            rest = rest[sent:]
            connection.pending = rest
        connection.pending = None
    finally:
        watcher.stop()
