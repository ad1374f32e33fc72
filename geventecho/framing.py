"""Framings: each one finds the end of a reply.

A stream has no messages, so a reader needs a framing::

    Exactly(1024)                      a fixed number of bytes
    Until(b"\\r\\n")                     up to and including a delimiter
    LengthPrefixed(">I", offset=1)     a header with the length of the rest
    UntilQuiet(0.2)                    until no byte has come for this long, in seconds
    UntilClosed()                      until the peer's FIN
    NoReply()                          no reply

or any callable that takes the chunks as they come, see `Parsed`. Every framing has a `max_size` in bytes. A longer
reply fails with `ReplyTooLong`. The default is 64 KiB for the three framings that begin with Until, and 16 MiB for the
others. Bytes after a reply are kept for the next reply.

Rules for this file: it is pure. It uses no socket and no clock, so that a test can cut a stream anywhere.

A framing makes a new *parser* for each reply. The parser is called with each chunk of the reply (bytes, never empty) in
order, each byte once. It returns None while the end of the reply is not known. Otherwise it returns the number of
bytes, from the start of this chunk, that belong to the reply. If the number is larger than the chunk, the missing bytes
are counted, and the parser is not called again. It raises ValueError for a reply that breaks the protocol.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from geventecho.errors import ConfigError

__all__ = [
    "DEFAULT_MAX_SIZE",
    "LARGEST",
    "OPEN_MAX_SIZE",
    "Exactly",
    "Framing",
    "LengthPrefixed",
    "NoReply",
    "Parsed",
    "Parser",
    "Until",
    "UntilClosed",
    "UntilQuiet",
    "Verdict",
    "as_framing",
]

DEFAULT_MAX_SIZE: Final = 16 * 1024 * 1024
"""Bytes: the default of `max_size`."""
OPEN_MAX_SIZE: Final = 64 * 1024
"""Bytes: the default for a reply that does not begin with its length. Each user of a load test may hold a reply that
never ends: 10,000 users hold 640 MiB."""
LARGEST: Final = 1 << 30
"""Bytes of the largest reply of a fixed size: a whole reply is held in memory."""

Parser = Callable[[bytes], int | None]
"""The type of a parser: it takes the chunks of one reply in order, and returns the end of the reply."""
Verdict = int | bool | None
"""The result of a function that stands for a framing, see `Parsed`."""


class Framing:
    """The base of all framings. Subclass it if a parser needs new state for each reply.

    Attributes:
        max_size: bytes the reply may have.
        size: bytes of the reply, or None if they are not known beforehand.
        quiet: seconds of silence that end a reply which has begun, or None.
        ends_at_close: whether the peer's FIN ends the reply. If not, a FIN before the end raises `ShortReply`.
    """

    max_size: int = DEFAULT_MAX_SIZE
    size: int | None = None
    quiet: float | None = None
    ends_at_close: bool = False

    def __init__(self, *, max_size: int = DEFAULT_MAX_SIZE) -> None:
        self.max_size = _whole_number("max_size", max_size)

    def parser(self) -> Parser:
        """Return a parser for one reply, see the beginning of this module."""
        raise NotImplementedError


class Exactly(Framing):
    """A reply of a fixed size, which is also its `max_size`.

    Args:
        count: bytes, from 0 to `LARGEST` (1 GiB).
    """

    def __init__(self, count: int) -> None:
        super().__init__(max_size=_whole_number("count", count))
        if count > LARGEST:
            raise ConfigError(f"count is {count}; a reply has at most {LARGEST} bytes")
        self.size = count

    def parser(self) -> Parser:
        count = self.max_size
        return lambda _chunk: count


class NoReply(Exactly):
    """No reply: the request is complete once it is sent."""

    def __init__(self) -> None:
        super().__init__(0)


class Until(Framing):
    """A reply that ends with a delimiter, which is part of it.

    Args:
        delimiter: at least one byte.
        max_size: bytes the reply may have, with the delimiter.
    """

    def __init__(self, delimiter: bytes, *, max_size: int = OPEN_MAX_SIZE) -> None:
        super().__init__(max_size=max_size)
        if not isinstance(delimiter, bytes) or not delimiter:
            raise ConfigError(f"delimiter is {delimiter!r}; it must be bytes, at least one")
        self.delimiter = delimiter

    def parser(self) -> Parser:
        delimiter = self.delimiter
        overlap = len(delimiter) - 1
        tail = b""  # the delimiter may have begun in the chunk before

        def parse(chunk: bytes) -> int | None:
            nonlocal tail
            window = tail + chunk if tail else chunk
            found = window.find(delimiter)
            if found >= 0:
                return found + len(delimiter) - len(tail)
            tail = window[-overlap:] if overlap else b""
            return None

        return parse


class LengthPrefixed(Framing):
    """A reply whose header holds its length.

    Args:
        struct_format: one integer in the notation of the struct module, such as ">I" (4 bytes, network order) or "<H".
        offset: bytes of the reply before the length.
        includes_itself: whether the length counts its own bytes; it never counts the `offset` bytes before it.
        max_size: bytes the whole reply may have; the header must fit.
    """

    def __init__(
        self, struct_format: str, offset: int = 0, includes_itself: bool = False, *, max_size: int = DEFAULT_MAX_SIZE
    ) -> None:
        super().__init__(max_size=max_size)
        self.offset = _whole_number("offset", offset)
        self.includes_itself = includes_itself
        try:
            self.prefix = struct.Struct(struct_format)
        except (struct.error, TypeError, UnicodeEncodeError) as error:
            raise ConfigError(f"{struct_format!r} is not a struct format: {error}") from None
        header_size = offset + self.prefix.size
        if header_size > max_size:
            raise ConfigError(f"the header has {header_size} bytes; the whole reply has at most {max_size}")
        fields = self.prefix.unpack(bytes(self.prefix.size))
        if len(fields) != 1 or type(fields[0]) is not int:
            raise ConfigError(f"{struct_format!r} is not one integer; write it like '>I' (4 bytes, network order)")

    def parser(self) -> Parser:
        offset, prefix = self.offset, self.prefix
        header_size = offset + prefix.size
        before = 0 if self.includes_itself else prefix.size
        header = b""

        def parse(chunk: bytes) -> int | None:
            nonlocal header
            seen = len(header)
            header += chunk[: header_size - seen]
            if len(header) < header_size:
                return None
            (length,) = prefix.unpack_from(header, offset)
            total = offset + before + length
            if total < header_size:
                raise ValueError(f"the length in its header is {length}")
            return int(total) - seen

        return parse


class UntilQuiet(Framing):
    """A reply that ends when no byte has come for a while, or when the peer closes.

    The silence begins at the last byte. A reply that never begins is a timeout, not an empty reply.

    Args:
        seconds: the silence, above 0.
        max_size: bytes the reply may have.
    """

    ends_at_close = True

    def __init__(self, seconds: float, *, max_size: int = OPEN_MAX_SIZE) -> None:
        super().__init__(max_size=max_size)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < float("inf"):
            raise ConfigError(f"seconds is {seconds!r}; it must be a number above 0")
        self.quiet = seconds

    def parser(self) -> Parser:
        return lambda _chunk: None


class UntilClosed(Framing):
    """A reply that the peer's FIN ends; it may be empty.

    Args:
        max_size: bytes the reply may have.
    """

    ends_at_close = True

    def __init__(self, *, max_size: int = OPEN_MAX_SIZE) -> None:
        super().__init__(max_size=max_size)

    def parser(self) -> Parser:
        return lambda _chunk: None


class Parsed(Framing):
    """A reply whose end a callable finds. `as_framing` makes it of a callable.

    Args:
        function: takes the chunks of every reply. It returns None or False while the reply goes on, True if this chunk
            ends it, or a number of bytes as a parser does. Its state is not reset for the next reply: a protocol that
            needs new state for each reply needs a subclass of `Framing`.
        max_size: bytes the reply may have.
    """

    def __init__(self, function: Callable[[bytes], Verdict], *, max_size: int = DEFAULT_MAX_SIZE) -> None:
        super().__init__(max_size=max_size)
        self.function = function

    def parser(self) -> Parser:
        function = self.function

        def parse(chunk: bytes) -> int | None:
            verdict = function(chunk)
            if verdict is None or verdict is False:
                return None
            if verdict is True:
                return len(chunk)
            if isinstance(verdict, int) and verdict >= 0:
                return verdict
            raise TypeError(f"the framing {function!r} returned {verdict!r}; give None, True or a number of bytes")

        return parse


def as_framing(reply: Framing | Callable[[bytes], Verdict]) -> Framing:
    """Return a framing: `reply` itself, or a callable wrapped in one.

    Raises:
        ConfigError: `reply` is neither.
    """
    if isinstance(reply, Framing):
        return reply
    if isinstance(reply, type):
        raise ConfigError(f"{reply.__name__} is a class; give an instance, such as {reply.__name__}(…)")
    if callable(reply):
        return Parsed(reply)
    raise ConfigError(f"{reply!r} is not a framing; give one of geventecho.framing, or a callable that takes chunks")


def _whole_number(name: str, value: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{name} is {value!r}; it must be a whole number of bytes of 0 or more")
    return value
