"""The socket that a handler of one's own gets: it counts bytes and shares the hub."""

from __future__ import annotations

from typing import Any, Final, TypeVar

import gevent
from gevent import socket

from geventecho.server.connection import Connection

__all__ = ["CountedSocket"]

TURN: Final = 65536
"""Bytes that a handler's socket carries before others have their turn."""
Message = tuple[bytes, list[tuple[int, int, bytes]], int, object]
MessageInto = tuple[int, list[tuple[int, int, bytes]], int, object]
Result = TypeVar("Result")


class CountedSocket(socket.socket):  # type: ignore[misc]
    """The ordinary gevent socket a handler gets; it counts what passes, so that idle limits see progress.

    It also shares the hub. gevent's own socket waits only when there is nothing to read or no room to write; a peer
    that is fast enough would be the only one served.
    """

    # None in a copy that dup() makes: no connection counts its bytes.
    connection: Connection | None = None
    _carried = 0

    def recv(self, *args: int) -> bytes:
        self._share_reading()
        data: bytes = super().recv(*args)
        return data if _peeks(args, 1) else self._received(len(data), data)

    def recv_into(self, *args: Any) -> int:
        self._share_reading()
        count: int = super().recv_into(*args)
        return count if _peeks(args, 2) else self._received(count, count)

    def recvmsg(self, *args: int) -> Message:
        self._share_reading()
        message: Message = super().recvmsg(*args)
        return message if _peeks(args, 2) else self._received(len(message[0]), message)

    def recvmsg_into(self, *args: Any) -> MessageInto:
        self._share_reading()
        message: MessageInto = super().recvmsg_into(*args)
        return message if _peeks(args, 2) else self._received(message[0], message)

    def recvfrom(self, *args: int) -> tuple[bytes, object]:
        self._share_reading()
        data: tuple[bytes, object] = super().recvfrom(*args)
        return data if _peeks(args, 1) else self._received(len(data[0]), data)

    def recvfrom_into(self, *args: Any) -> tuple[int, object]:
        self._share_reading()
        count: tuple[int, object] = super().recvfrom_into(*args)
        return count if _peeks(args, 2) else self._received(count[0], count)

    def send(self, data: bytes, flags: int = 0, **options: float) -> int:
        self._share_writing()
        return self._sent(super().send(data, flags, **options))

    def sendmsg(self, *args: object) -> int:
        self._share_writing()
        return self._sent(super().sendmsg(*args))

    # These run before the call, not after it: a timeout that strikes in them costs no byte.

    def _share_reading(self) -> None:
        if self._carried >= TURN and self.timeout != 0 and not self.closed:
            self._carried = 0
            # Wait in the event loop, as if there were nothing to read: each ready connection gets one turn in a round.
            socket.wait(self._read_event, timeout=self.timeout)

    def _share_writing(self) -> None:
        if self._carried >= 4 * TURN and self.timeout != 0:  # it reads little, or never
            self._carried = 0
            gevent.sleep(0)

    def _received(self, count: int, result: Result) -> Result:
        self._carried += count
        if count and self.connection is not None:
            self.connection.count_read(count)
        return result

    def _sent(self, count: int) -> int:
        self._carried += count
        if count and self.connection is not None:
            self.connection.count_written(count)
        return count


def _peeks(args: tuple[Any, ...], at: int) -> bool:
    """Whether the flags, the argument at that place, leave in the queue what is read."""
    return len(args) > at and bool(args[at] & socket.MSG_PEEK)
