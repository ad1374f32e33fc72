"""The loop: one accepted socket, until it ends, and why it ended.

The read watcher stays armed between messages: gevent's own recv() tries the syscall, takes an exception, starts a
watcher, waits and stops it for every message, and this loop does 2.3 times the work of one around recv/sendall. An
accepted socket has one owner that waits for nothing else, which is what makes it safe. Therefore:

- arm in one place, under try/finally: a greenlet that dies armed leaves a watcher that fires for ever;
- nothing in the loop may wait for anything else while armed (no sleep, lock or log);
- a wake-up without data is normal.

It switches to the hub as greenlet does it, not through the hub's own switch(): that one asks every greenlet for a
`switch_out` to call first, which only gevent's Greenlet class has, and these are raw ones.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import gevent
from gevent import get_hub, getcurrent
from greenlet import greenlet

from geventecho.connection import Connection
from geventecho.counters import Ending
from geventecho.deadlines import Deadlines

__all__ = ["RECEIVE_SIZE", "echo", "flush", "make_buffer"]

RECEIVE_SIZE: Final = 65536
"""Bytes that a connection may receive in one turn, and so the most that one holds in this process."""


def make_buffer() -> memoryview:
    """What all connections of one hub receive into: it is sent on, or copied, before another of them runs.

    It saves what allocating and shrinking 64 KiB costs for each message, a tenth of the user CPU. Hubs must not share
    one: recv(2) runs without the interpreter's lock.
    """
    return memoryview(bytearray(RECEIVE_SIZE))


def echo(connection: Connection, deadlines: Deadlines, buffer: memoryview) -> Ending:
    """Return what the peer sends until it has sent all (RFC 862).

    It waits after every message, also when more is there to read: a flooding peer gets one message in a turn, like
    everybody else.

    Raises:
        OSError: the connection broke.
        Ended: it was told to end.
    """
    sock = connection.sock
    receive, send = sock._sock.recv_into, sock._sock.send
    clock = connection.clock
    wake = getcurrent().switch
    wait = partial(greenlet.switch, get_hub())
    # The gevent socket's own watcher, not a second one: it saves memory, and close() knows of it.
    watcher = sock._read_event
    meter = connection.meter
    window = RECEIVE_SIZE if meter is None else meter.window
    watcher.start(wake)
    try:
        while True:
            wait()
            try:
                size = receive(buffer, window)
            except BlockingIOError:
                continue
            if not size:
                return Ending.PEER
            connection.received += size
            connection.progress = clock.now
            try:
                sent = send(buffer[:size])
            except BlockingIOError:
                sent = 0
            connection.sent += sent
            if sent != size:
                watcher.stop()
                connection.pending = memoryview(bytes(buffer[sent:size]))
                deadlines.watch(connection)
                flush(connection)
                watcher.start(wake)
            if meter is not None:
                pause, window = meter.spend(size), meter.window
                if not window:
                    return Ending.BYTES
                watcher.stop()
                gevent.sleep(pause)
                watcher.start(wake)
    finally:
        watcher.stop()


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
