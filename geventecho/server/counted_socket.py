"""The socket that a handler of one's own gets: it counts bytes and shares the hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent import socket

from geventecho.server.connection import Connection

__all__ = ["CountedSocket"]

TURN: Final = 65536
"""Bytes that a handler's socket carries before others have their turn."""


class CountedSocket(socket.socket):  # type: ignore[misc]
    """The ordinary gevent socket a handler gets; it counts what passes, so that idle limits see progress.

    It also shares the hub. gevent's own socket waits only when there is nothing to read or no room to write; a peer
    that is fast enough would be the only one served.
    """

    # None in a copy that dup() makes: no connection counts its bytes.
    connection: Connection | None = None
    _carried = 0

    def recv(self, *args: int) -> Any:
        return self._receive(super().recv, args, flags_at=1)

    def recv_into(self, *args: Any) -> Any:
        return self._receive(super().recv_into, args, flags_at=2)

    def recvmsg(self, *args: int) -> Any:
        return self._receive(super().recvmsg, args, flags_at=2)

    def recvmsg_into(self, *args: Any) -> Any:
        return self._receive(super().recvmsg_into, args, flags_at=2)

    def recvfrom(self, *args: int) -> Any:
        return self._receive(super().recvfrom, args, flags_at=1)

    def recvfrom_into(self, *args: Any) -> Any:
        return self._receive(super().recvfrom_into, args, flags_at=2)

    def send(self, data: bytes, flags: int = 0, **options: float) -> int:
        self._share_writing()
        return self._sent(super().send(data, flags, **options))

    def sendmsg(self, *args: object) -> int:
        self._share_writing()
        return self._sent(super().sendmsg(*args))

    def _receive(self, call: Callable[..., Any], args: tuple[Any, ...], *, flags_at: int) -> Any:
        self._share_reading()
        result = call(*args)
        if len(args) <= flags_at or not args[flags_at] & socket.MSG_PEEK:  # else what was read stays in the queue
            # The bytes, their number, or a tuple that begins with one of these.
            data = result[0] if isinstance(result, tuple) else result
            count = data if isinstance(data, int) else len(data)
            self._carried += count
            if count and self.connection is not None:
                self.connection.count_read(count)
        return result

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

    def _sent(self, count: int) -> int:
        self._carried += count
        if count and self.connection is not None:
            self.connection.count_written(count)
        return count
