"""Payloads to echo, no two alike, made at the cost of a copy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from struct import Struct
from typing import Final

__all__ = ["distinct_payloads"]

# The filler is read from a different offset each time, so that a reply to another message differs all over.
OFFSETS: Final = 251
SMALL: Final = 4096
"""Bytes up to which all the tails there are, a megabyte of them, are kept for all users: cutting one out costs more."""
LARGE: Final = 65536
"""Bytes from which a second copy costs more than a view that saves it."""


@lru_cache(maxsize=4)
def _filler(size: int) -> bytes:
    return os.urandom(size + OFFSETS)


@lru_cache(maxsize=16)
def _tails(size: int) -> list[bytes]:
    filler = _filler(size)
    return [filler[start : start + size] for start in range(OFFSETS)]


def distinct_payloads(size: int) -> Iterator[bytes]:
    """Yield payloads for one user for ever.

    A payload begins with 8 bytes of sequence number, counted from a random start, and 8 bytes that name the user;
    random filler follows. Shorter ones are cut after the byte that changes fastest, which is the first: even single
    bytes differ from message to message, as far as 256 values go.

    Args:
        size: bytes of each, 1 or more.
    """
    user = os.urandom(8)
    head = Struct("<Q8s").pack
    # From less than 2**56, so that adding ones for years never makes more than 8 bytes of it.
    numbers = count(int.from_bytes(os.urandom(7), "little"))
    tail = size - 16
    if tail <= 0:
        for number in numbers:
            yield head(number, user)[:size]
    elif size <= SMALL:
        tails = _tails(tail)
        for number in numbers:
            yield head(number, user) + tails[number % OFFSETS]
    else:
        filler: bytes | memoryview = _filler(tail) if size < LARGE else memoryview(_filler(tail))
        for number in numbers:
            start = number % OFFSETS
            yield b"".join((head(number, user), filler[start : start + tail]))
