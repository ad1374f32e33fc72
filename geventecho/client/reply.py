"""The reply that a client waits for: a framing finds its end, or it is the echo of a payload.

Rules for this file: it is pure, like the framings. Both classes have the same methods: `feed` takes a chunk and returns
whether the reply is complete, `end` takes the peer's FIN, `rest` has the bytes after the reply.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from geventecho.errors import CorruptReply, ReplyError, ReplyTooLong, ShortReply

if TYPE_CHECKING:
    from geventecho.address import Address
    from geventecho.framing import Framing

__all__ = ["SAMPLE_SIZE", "EchoReader", "ReplyReader", "first_difference", "with_sample"]

SAMPLE_SIZE: Final = 80
"""Bytes of a wrong reply that its error keeps."""


class ReplyReader:
    """Collects one reply, chunk by chunk.

    Args:
        framing: finds the end of the reply.
        address: the peer, for the errors.

    Attributes:
        complete: whether the reply is complete.
        received: bytes of the reply so far.
        rest: the bytes of the last chunk after the reply.
    """

    __slots__ = ("_address", "_buffer", "_chunk", "_framing", "_missing", "_parse", "complete", "received", "rest")

    def __init__(self, framing: Framing, address: Address | None = None) -> None:
        self._framing = framing
        self._address = address
        self._parse = framing.parser()
        self._missing: int | None = None
        # Most replies are one chunk, which needs no copy. For more chunks, a bytearray avoids quadratic cost.
        self._chunk = b""
        self._buffer: bytearray | None = None
        self.received = 0
        self.rest = b""
        self.complete = framing.size == 0

    def feed(self, chunk: bytes) -> bool:
        """Take a chunk; returns whether the reply is complete.

        Raises:
            ReplyTooLong: the reply passes the framing's limit.
            ReplyError: the parser refused the reply.
        """
        size = len(chunk)
        missing = self._missing
        if missing is None:
            try:
                missing = self._parse(chunk)
            except ValueError as error:
                came = self.data[:SAMPLE_SIZE] + chunk
                raise with_sample(
                    ReplyError(f"malformed: {error}", address=self._address, phase="read"), came
                ) from error
            if self.received + (size if missing is None else missing) > self._framing.max_size:
                came = self.data[:SAMPLE_SIZE] + chunk
                raise with_sample(ReplyTooLong(address=self._address, limit=self._framing.max_size), came)
        if missing is not None:
            self.complete = missing <= size
            self._missing = missing - size
            if missing < size:
                chunk, self.rest = chunk[:missing], chunk[missing:]
        if self._buffer is not None:
            self._buffer += chunk
        elif self._chunk:
            self._buffer = bytearray(self._chunk)
            self._buffer += chunk
        else:
            self._chunk = chunk
        self.received += len(chunk)
        return self.complete

    def end(self) -> None:
        """Take the peer's FIN.

        Raises:
            ShortReply: the FIN came before the reply ended.
        """
        if not self._framing.ends_at_close or (self._framing.quiet is not None and not self.received):
            expected = self._framing.size if self._missing is None else self.received + self._missing
            raise with_sample(ShortReply(address=self._address, received=self.received, expected=expected), self.data)
        self.complete = True

    @property
    def data(self) -> bytes:
        """The reply, or the part of it that has come."""
        return self._chunk if self._buffer is None else bytes(self._buffer)


class EchoReader:
    """Compares the echo with the payload, chunk by chunk, and keeps no byte of the echo.

    Args:
        payload: at least one byte; a memoryview only if it is longer than any chunk.
        address: the peer, for the errors.

    Attributes:
        complete: whether the whole payload came back.
        received: bytes that came back so far.
        rest: the bytes of the last chunk after the echo.
    """

    __slots__ = ("_address", "_payload", "complete", "received", "rest")

    def __init__(self, payload: bytes | memoryview, address: Address | None = None) -> None:
        self._payload = payload
        self._address = address
        self.received = 0
        self.rest = b""
        self.complete = False

    def feed(self, chunk: bytes) -> bool:
        """Take a chunk; returns whether the echo is complete.

        Raises:
            CorruptReply: a byte differs.
        """
        if chunk == self._payload:  # most echoes come back in one piece
            self.received = len(chunk)
            self.complete = True
            return True
        # The slice is copied first: a memoryview is compared byte by byte, a hundred times slower than bytes.
        expected = bytes(self._payload[self.received : self.received + len(chunk)])
        if len(expected) < len(chunk):
            chunk, self.rest = chunk[: len(expected)], chunk[len(expected) :]
        if chunk != expected:
            offset = self.received + first_difference(expected, chunk)
            in_sample = offset < SAMPLE_SIZE
            came = bytes(self._payload[: self.received]) + chunk if in_sample else chunk[offset - self.received :]
            raise with_sample(CorruptReply(address=self._address, offset=offset), came)
        self.received += len(chunk)
        self.complete = self.received == len(self._payload)
        return self.complete

    def end(self) -> None:
        """Take the peer's FIN.

        Raises:
            ShortReply: always: a client waits only for an echo that is not complete.
        """
        raise with_sample(
            ShortReply(address=self._address, received=self.received, expected=len(self._payload)),
            self._payload[: self.received],
        )


def with_sample(error: ReplyError, came: bytes | memoryview) -> ReplyError:
    """Store the first received bytes in the error, and return it.

    Make the error in the call: a local variable would make a cycle of the error, its traceback and the frame.
    """
    error.sample = bytes(came[:SAMPLE_SIZE])
    return error


def first_difference(expected: bytes, received: bytes) -> int:
    """Return the offset of the first difference; the length of the shorter string if the longer one begins with it."""
    low, high = 0, min(len(expected), len(received))
    while low < high:
        middle = (low + high + 1) // 2
        if expected[low:middle] == received[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low
