"""A connection as a stream of bytes: what every client can do, whatever it speaks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import EllipsisType
from typing import Final, NoReturn, Self

from geventecho import errors
from geventecho.address import Address, SockAddr
from geventecho.client.duplex import Duplex
from geventecho.client.reply import ReplyReader
from geventecho.framing import Exactly, Framing, Verdict, as_framing
from geventecho.net import abort

__all__ = ["RECEIVE_SIZE", "Payload", "Seconds", "Stream", "as_bytes"]

Payload = bytes | bytearray | memoryview
Seconds = float | EllipsisType | None
"""The time limit of one call: seconds, None for no limit; ``...``, or nothing, for the client's own."""

RECEIVE_SIZE: Final = 65536


class Stream:
    """An open connection; a context manager that closes it.

    One greenlet uses it, or one that only receives and one that only sends. Any greenlet may close it: whoever waits on
    it then gets `ClosedLocally`. Every network failure is a `NetworkError` that names the target and the phase.

    Args:
        wire: the connected socket.
        target: the address it was told to connect to.
        peer: what that was in the end.

    Attributes:
        target: as given.
        closed: whether it was closed on this side.
    """

    __slots__ = ("_ended", "_leftover", "_local", "_peer", "_wire", "closed", "target")

    def __init__(self, wire: Duplex, target: Address, peer: SockAddr) -> None:
        self.target = target
        self.closed = False
        self._wire = wire
        self._local: SockAddr = wire.sock.getsockname()
        self._peer = peer
        self._ended = False
        self._leftover = b""

    def send(self, data: Payload, *, timeout: Seconds = ...) -> None:
        """Send all of `data`.

        Raises:
            WriteTimeout: the peer did not take it in time; `bytes_sent` tells how much it took.
            PeerReset: the connection broke.
        """
        self._wire.write(as_bytes(data), self._seconds(timeout))

    def recv(self, max_bytes: int = RECEIVE_SIZE, *, timeout: Seconds = ...) -> bytes:
        """Receive what there is, at most `max_bytes`, waiting for the first byte; b"" once the peer has closed.

        Raises:
            ReadTimeout: nothing came in time.
            PeerReset: the connection broke.
        """
        if max_bytes < 1:
            raise errors.ConfigError(f"max_bytes is {max_bytes!r}; it must be 1 or more")
        if self._leftover:
            data, self._leftover = self._leftover[:max_bytes], self._leftover[max_bytes:]
            return data
        return self._wire.read(max_bytes, self._seconds(timeout))

    def recv_exactly(self, count: int, *, timeout: Seconds = ...) -> bytes:
        """Receive `count` bytes; of a call that fails nothing is lost, the next one gets what had come.

        Raises:
            ShortReply: the peer closed before.
            ReadTimeout: they did not come in time.
            PeerReset: the connection broke.
        """
        return self.receive(Exactly(count), timeout=timeout)

    def receive(self, reply: Framing | Callable[[bytes], Verdict], *, timeout: Seconds = ...) -> bytes:
        """Receive one reply without asking: a greeting, a push, the next answer of a pipeline.

        Args:
            reply: where it ends, see geventecho.framing.
            timeout: seconds for the whole of it.

        Raises:
            ShortReply, ReplyTooLong, ReadTimeout, PeerReset: as for `request`. What had come stays for the next call.
        """
        framing = as_framing(reply)
        reader = ReplyReader(framing, self.target)
        leftover, self._leftover = self._leftover, b""
        try:
            if leftover and not reader.complete:
                reader.feed(leftover)
            if not reader.complete:
                self._wire.exchange(b"", reader, self._seconds(timeout), framing.quiet)
        except BaseException:
            self._leftover = reader.data
            raise
        self._leftover = reader.rest
        return reader.data

    def __iter__(self) -> Iterator[bytes]:
        """The chunks as they come, until the peer closes; each within the client's time limit."""
        while chunk := self.recv(self._wire.receive_size):
            yield chunk

    def _seconds(self, timeout: Seconds) -> float | None:
        if isinstance(timeout, EllipsisType):
            return self._wire.timeout
        if timeout is not None and not timeout >= 0:
            raise errors.ConfigError(f"timeout is {timeout!r}; it must be a number of seconds of 0 or more, or None")
        return timeout

    def end(self) -> None:
        """Send FIN: the peer sees the end of what we send, and we go on receiving. Does nothing the second time."""
        if not (self._ended or self.closed):
            self._ended = True
            self._wire.stop_writing(partial(_refuse, "nothing can be sent after end()", self.target, "write"))

    def close(self) -> None:
        """Close; a greenlet that waits on this connection gets `ClosedLocally`. Does nothing the second time."""
        if self._stop():
            self._wire.sock.close()

    def abort(self) -> None:
        """Close with RST: the peer sees the connection break, and what is still unsent is dropped."""
        if self._stop():
            abort(self._wire.sock)

    def _stop(self) -> bool:
        was_open = not self.closed
        self.closed = True
        self._wire.stop(partial(_refuse, "the connection is closed on this side", self.target))
        return was_open

    @property
    def bytes_sent(self) -> int:
        """Bytes the kernel took from us."""
        return self._wire.sent

    @property
    def bytes_received(self) -> int:
        """Bytes the kernel gave us."""
        return self._wire.received

    @property
    def local_address(self) -> Address:
        """This end."""
        return Address.from_sockaddr(self._local)

    @property
    def peer_address(self) -> Address:
        """The other end."""
        return Address.from_sockaddr(self._peer)

    def fileno(self) -> int:
        """The descriptor; -1 once closed."""
        return -1 if self.closed else int(self._wire.sock.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        carried = f"{self.bytes_sent} bytes sent, {self.bytes_received} received"
        return f"<{type(self).__name__} {self.target} {state}, {carried}>"


def as_bytes(data: Payload) -> bytes | memoryview:
    """Bytes that can be sliced without a copy, whatever buffer `data` is."""
    return data if type(data) is bytes else memoryview(data).cast("B")


def _refuse(reason: str, target: Address, phase: str, *_: object) -> NoReturn:
    raise errors.ClosedLocally(reason, address=target, phase=phase)
