"""The hub's part of the echo: it returns whole messages without waking the connection's greenlet.

gevent's own recv() tries the syscall, takes an exception, starts a watcher, waits and stops the watcher, for every
message. Here a connection's read watcher stays armed while its greenlet sleeps. When there is something to read, the
watcher's callback returns one message. It wakes the greenlet for everything else: the end of the stream, an error, a
peer that does not take its bytes, a limit. A message takes 1.2 us of user CPU, and 4.1 us with the two switches of the
greenlet and the caches that they leave cold; plain recv/sendall takes 7.3 us (1 KiB, 100 connections). Through TLS a
message took 8.8 us with the switches and takes 5.7 us without them.

This is safe because an accepted socket has one owner, which waits for nothing else. The rules:

- arm the watcher in one place, under try/finally: a greenlet that dies while it is armed leaves a watcher that fires
  for ever;
- the callback is a bound method of the connection: close() from elsewhere calls `throw` of the object it is bound to;
- the greenlet waits for nothing else while the watcher is armed, and the callback never waits (no sleep, lock or log);
- a wake-up without data is normal.
"""

from __future__ import annotations

from types import MethodType
from typing import Any, Final

from gevent import get_hub

from geventecho.server.connection import RECEIVE_SIZE, Connection
from geventecho.server.counters import Ending
from geventecho.server.deadlines import Deadlines
from geventecho.server.splice import Pipe

__all__ = ["SharedBuffers", "attend", "echo_in_hub"]

LARGE: Final = 16384
"""Bytes from which a message goes through the pipe. The next messages go through it, too, until a message has less than
half as many."""


class Buffer:
    """Memory that messages are read into.

    Attributes:
        memory: all of it.
        message: its first `size` bytes, kept because most messages are as long as the message before: a new slice for
            each costs a tenth of the instructions.
        size: the size of the last message, in bytes.
    """

    __slots__ = ("memory", "message", "size")

    def __init__(self, memory: memoryview) -> None:
        self.memory = self.message = memory
        self.size = len(memory)


Route = tuple[Any, int, int, Buffer]
"""The connection's channel or its spliced socket; the smallest size of message that the hub returns alone, and the size
above the largest; the buffer. With the connection these are five arguments: a bound method with more allocates memory
for each call."""


class SharedBuffers:
    """The buffers that all connections of a server share. A message is in them only during one callback.

    One buffer for all saves the allocation of 64 KiB for each message, a tenth of the user CPU. All connections must be
    of one hub: recv(2) and splice(2) run without the interpreter's lock.

    Attributes:
        hub: the hub.
        buffer: its bytes are sent, or copied, before another connection runs.
        pipe: for large messages.
    """

    __slots__ = ("buffer", "hub", "pipe")

    def __init__(self) -> None:
        self.hub = get_hub()
        self.buffer = Buffer(memoryview(bytearray(RECEIVE_SIZE)))
        self.pipe = Pipe()


def attend(connection: Connection, buffers: SharedBuffers) -> bool:
    """Return whole messages in the hub alone, without a greenlet, until `connection.wake` begins one.

    A greenlet takes most of a connection's memory. It then goes on with `echo_in_hub`.

    Returns:
        True: the connection is served.
    """
    sock = connection.sock
    assert sock.hub is buffers.hub, "another hub's connections use these buffers"  # noqa: S101
    sock._read_event.start(MethodType(_return_message, connection), connection.channel, 1, LARGE, buffers.buffer)
    return True


def echo_in_hub(connection: Connection, deadlines: Deadlines, buffers: SharedBuffers) -> Ending:
    """Echo as `echo` does. A connection with a meter is for `echo`: the meter needs the greenlet for each message.

    It returns one message in a turn, even when more is there to read: a flooding peer gets no more than others.
    """
    # This is the gevent socket's own watcher: a second one would take memory, and close() would not know it.
    sock, watcher = connection.sock, connection.sock._read_event
    hub = get_hub()
    assert hub is buffers.hub, "another hub's connections use these buffers"  # noqa: S101
    return_message = MethodType(_return_message, connection)
    buffer = buffers.buffer
    large = LARGE if connection.can_splice else RECEIVE_SIZE + 1
    copied: Route = (connection.channel, 1, large, buffer)
    route, spliced = copied, None  # spliced from the first large message on
    try:
        _deliver(connection, deadlines)
        while True:
            watcher.start(return_message, *route)
            connection.announce_input()
            size = hub.switch()
            watcher.stop()
            if not size:
                return Ending.PEER
            _deliver(connection, deadlines)
            if size < LARGE // 2:
                route = copied
            elif size >= large and route is copied:
                spliced = spliced or buffers.pipe.enter(sock)
                route = (spliced, LARGE // 2, RECEIVE_SIZE + 1, buffer)
    finally:
        watcher.stop()
        if spliced is not None:
            spliced.leave()


def _deliver(connection: Connection, deadlines: Deadlines) -> None:
    if connection.pending is not None:
        deadlines.watch(connection)
        connection.flush()


def _return_message(connection: Connection, channel: Any, min_size: int, end_size: int, buffer: Buffer) -> None:
    """Return one message, in the hub. Wake the greenlet with its size if more is to be done."""
    try:
        size = channel.recv_into(buffer.memory)
        if size:
            if size != buffer.size:
                buffer.size, buffer.message = size, buffer.memory[:size]
            connection.last_byte_at = connection.clock.now
            try:
                sent = channel.send(buffer.message)
            except BlockingIOError:
                sent = 0
            except BaseException:
                connection.count_read(size)
                raise
            if sent == size:
                connection.echoed += size
                connection.traffic.echoed += size
                if min_size <= size < end_size:
                    return
            else:
                connection.count_read(size)
                connection.count_written(sent)
                connection.pending = memoryview(bytes(buffer.message[sent:]))
    except BlockingIOError:
        connection.check_flood()  # TLS may have taken a record without payload
        return
    except BaseException as error:  # any error is this connection's: the hub would only print it
        connection.throw(type(error), error, error.__traceback__)
        return
    if connection.greenlet is not None:
        connection.greenlet.switch(size)
    elif connection.wake is not None:
        connection.wake(connection, at_end=not size)
