"""Sources of payloads: fixed, random, lines, or a template.

A source gives each user an endless series of payloads. The same source, seed and user number give the same series in
every process: a run can be repeated, and workers need not communicate.

Rules for this file: it is pure, except `Lines.of_file`, which reads a file once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, count, cycle, islice, repeat
from os import PathLike
from random import Random
from typing import Final, Protocol

from geventecho.errors import ConfigError

__all__ = ["Fixed", "Lines", "RandomBytes", "Source", "Template", "sizes"]

LARGEST: Final = 1 << 30
"""Bytes that a random payload may have."""
# At most 18 digits: Python refuses numbers of thousands of digits, and a weight must fit a float.
RANGE: Final = re.compile(r"(\d{1,18})-(\d{1,18})", re.ASCII)
WEIGHTED: Final = re.compile(r"\d{1,18}(:\d{1,18})?(,\d{1,18}(:\d{1,18})?)*", re.ASCII)
FIELD: Final = re.compile(rb"\{(user|message)(?::([^{}]*))?\}")
SPEC: Final = re.compile(r"(?:.?[<>=^])?[-+ ]?#?(?P<width>\d{0,4})[,_]?[dxXob]?", re.ASCII | re.DOTALL)
MAX_WIDTH: Final = 1000
"""Characters: the largest width of a number in a template."""


class Source(Protocol):
    """A source of payloads."""

    def payloads(self, user: int) -> Iterator[bytes]:
        """Yield the payloads of one user, without end. Users are numbered from 0."""


class Fixed:
    """The same payload for all users, each time."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def payloads(self, user: int) -> Iterator[bytes]:  # noqa: ARG002
        """Yield the payload, without end."""
        return repeat(self._data)


class RandomBytes:
    """Random bytes. They differ from user to user and from payload to payload.

    Args:
        size: a distribution of sizes, see `sizes`.
        seed: another seed gives other bytes and other sizes.
    """

    def __init__(self, size: str, seed: int = 0) -> None:
        self._draw = sizes(size)
        self._seed = seed

    def payloads(self, user: int) -> Iterator[bytes]:
        """Yield the payloads of one user, without end."""
        # Random hashes a seed that is text, so that the series of neighbouring users are unrelated.
        random = Random(f"{self._seed}/{user}")  # noqa: S311
        while True:
            yield random.randbytes(self._draw(random))


class Lines:
    """Lines in turn, from the first to the last and again. Each user begins one line after the user before.

    Args:
        lines: at least one line.
        ending: bytes that are sent after each line.
    """

    def __init__(self, lines: Sequence[bytes], ending: bytes = b"\n") -> None:
        if not lines:
            raise ConfigError("there are no lines to send")
        self._lines = [line + ending for line in lines]

    @classmethod
    def of_file(cls, path: str | PathLike[str], ending: bytes = b"\n") -> Lines:
        r"""Return a source of the lines of a file, without their ``\n`` or ``\r\n``. Empty lines are left out.

        Raises:
            ConfigError: the file cannot be read, or has no lines.
        """
        try:
            with open(path, "rb") as file:
                lines = [line for line in (raw.rstrip(b"\r\n") for raw in file) if line]
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
        if not lines:
            raise ConfigError(f"{path} has no lines")
        return cls(lines, ending)

    def payloads(self, user: int) -> Iterator[bytes]:
        """Yield the lines, without end."""
        return islice(cycle(self._lines), user % len(self._lines), None)


class Template:
    """Text with the user's number and a count of the user's messages.

    Args:
        text: ``{user}`` is the user's number from 0, ``{message}`` counts the user's messages from 1. Formats such as
            ``{message:08d}`` are Python's: types d, x, X, o, b or none, up to 1000 wide. Any other brace is an ordinary
            character, so that JSON needs no escapes.

    Raises:
        ConfigError: a format is not supported.
    """

    def __init__(self, text: bytes) -> None:
        # The parts are text, name, format, text and so on; the last part is text.
        parts = FIELD.split(text)
        self._texts = parts[::3]
        self._fields = [
            (name, (spec or b"").decode("utf-8", "replace"))
            for name, spec in zip(parts[1::3], parts[2::3], strict=True)
        ]
        for name, spec in self._fields:
            shown = f"{{{name.decode()}:{spec}}}"
            found = SPEC.fullmatch(spec)
            if not found or int(found["width"] or 0) > MAX_WIDTH:
                raise ConfigError(
                    f"{shown} is not a format; write it like {{{name.decode()}:08d}}, {MAX_WIDTH} wide at most"
                )
            try:
                format(1, spec)
            except ValueError as error:
                raise ConfigError(f"{shown} cannot be formatted: {error}") from None

    def payloads(self, user: int) -> Iterator[bytes]:
        """Yield the payloads of one user, without end."""
        if not self._fields:
            yield from repeat(self._texts[0])
        first, *others = self._texts
        for message in count(1):
            numbers = {b"user": user, b"message": message}
            pieces = [first]
            for (name, spec), text in zip(self._fields, others, strict=True):
                pieces += (format(numbers[name], spec).encode(), text)
            yield b"".join(pieces)


def sizes(text: str) -> Callable[[Random], int]:
    """Read a distribution of sizes, and return a function that draws from it.

    Args:
        text: sizes in bytes, up to 1 GiB. "1024" is a fixed size; "64-1500" is uniform, both ends included;
            "64:7,576:4,1500:1" has a weight for each size.

    Raises:
        ConfigError: the text has another form.
    """
    found = RANGE.fullmatch(text)
    if found:
        low, high = int(found[1]), int(found[2])
        if low <= high <= LARGEST:
            return lambda random: random.randint(low, high)
    elif WEIGHTED.fullmatch(text):
        pairs = [(int(size), int(weight or 1)) for size, _, weight in (part.partition(":") for part in text.split(","))]
        values, weights = zip(*pairs, strict=True)
        if max(values) <= LARGEST and sum(weights):
            totals = list(accumulate(weights))
            return lambda random: int(random.choices(values, cum_weights=totals)[0])
    raise ConfigError(f"{text!r} is not a distribution of sizes; write 1024, 64-1500 or 64:7,576:4,1500:1")
