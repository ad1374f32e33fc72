"""Payloads to echo. Each payload differs from all others, and costs no more than a copy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import count
from struct import Struct
from typing import Final

__all__ = ["distinct_payloads"]

OFFSETS: Final = 251
"""The number of offsets into the filler. Successive messages use different offsets, so that their replies differ in
every part."""
SMALL: Final = 4096
"""Up to this payload size the tails at all offsets are kept for all users, in one megabyte: a slice for each message
would take longer."""
LARGE: Final = 65536
"""From this payload size on a view of the filler is used: a second copy would take longer than the view."""


@lru_cache(maxsize=4)
def _filler(size: int) -> bytes:
    return os.urandom(size + OFFSETS)


@lru_cache(maxsize=16)
def _tails(size: int) -> list[bytes]:
    filler = _filler(size)
    return [filler[start : start + size] for start in range(OFFSETS)]


def distinct_payloads(size: int) -> Iterator[bytes]:
    """Yield payloads for one user for ever.

    A payload has a sequence number of 8 bytes that counts from a random start, then 8 bytes that identify the user,
    then random filler. A shorter payload is the beginning of these bytes. The first byte changes with each message, so
    that even payloads of one byte have 256 different values.

    Args:
        size: bytes of each payload, 1 or more.
    """
    user = os.urandom(8)
    head = Struct("<Q8s").pack
    # The number starts below 2**56, so that it fits into 8 bytes for years.
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
