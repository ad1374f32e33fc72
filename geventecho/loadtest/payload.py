"""Payloads to echo, no two alike, made at the cost of a copy."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from struct import Struct
from typing import Final

__all__ = ["distinct_payloads"]

# The filler is read from a different offset each time, so that a reply to another message differs all over.
OFFSETS: Final = 251
LARGE: Final = 65536
"""Bytes from which a second copy costs more than a view that saves it."""


@lru_cache(maxsize=4)
def _filler(size: int) -> bytes:
    return os.urandom(size + OFFSETS)


def distinct_payloads(size: int) -> Iterator[bytes]:
    """Yield payloads for one user for ever.

    A payload begins with 8 bytes of sequence number, counted from a random start, and 8 bytes that name the user;
    random filler follows. Shorter ones are cut after the byte that changes fastest, which is the first: even single
    bytes differ from message to message, as far as 256 values go.

    Args:
        size: bytes of each, 1 or more.
    """
    user = os.urandom(8)
    number = int.from_bytes(os.urandom(8), "little")
    pack = Struct("<Q").pack
    tail = max(0, size - 16)
    filler: bytes | memoryview = _filler(tail)
    if size >= LARGE:
        filler = memoryview(filler)
    while True:
        number = (number + 1) & 0xFFFFFFFFFFFFFFFF
        if tail:
            start = number % OFFSETS
            yield b"".join((pack(number), user, filler[start : start + tail]))
        else:
            yield (pack(number) + user)[:size]
