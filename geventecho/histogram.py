"""Counts of latencies, with a relative error of at most 1 %. Histograms are merged without loss.

A bucket is the upper half of a time as a binary32 float of IEEE 754, in nanoseconds: sign, exponent and seven digits of
the fraction. So an octave has 128 buckets, and the middle of a bucket is at most 1/256 (0.4 %) away from each time in
it. `struct` converts a list of times to floats in C, so that many times are counted at low cost. Integers make sums and
merges exact in any order.
"""

from __future__ import annotations

import struct
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from itertools import accumulate
from operator import sub
from typing import Final, Self

__all__ = ["NANOSECONDS", "Histogram", "middle"]

NANOSECONDS: Final = 1_000_000_000
UPPER_HALVES: Final = slice(1 if sys.byteorder == "little" else 0, None, 2)

# Packed: count, total (two words), min, max, number of buckets, first bucket, widths of gaps and counts in bytes.
HEADER: Final = struct.Struct("<QQQQQHHBB")
WORD_BITS: Final = 64
MAX_UNCOUNTED: Final = 8192
"""Bytes of times that are not yet in buckets: 2,048 times."""
# The struct codes of unsigned integers, by their width in bytes.
CODES: Final = {1: "B", 2: "H", 4: "I", 8: "Q"}


class Histogram:
    """Counts of times.

    `count`, `min`, `max` and `mean` are exact to the nanosecond; percentiles are within 1 %, at least from 1 µs to
    100 s. `min`, `max`, `mean` and the percentiles are None while nothing is counted.
    """

    # Restored counts stay bytes until they change: a thousand histograms of a record may be read together.
    # Times are put in buckets a thousand at a time. Other work between two times would evict the buckets from the
    # processor's cache, and loading them again takes longer than counting.
    __slots__ = ("_buckets", "_max", "_min", "_packed", "_total", "_uncounted", "count")

    def __init__(self) -> None:
        self.count = 0
        self._buckets: Counter[int] = Counter()
        self._packed = b""
        self._uncounted = b""  # times as binary32 floats
        self._total = 0
        self._min = self._max = 0

    def record(self, seconds: float) -> None:
        """Count one time. A time below 0 counts as 0.

        Raises:
            OverflowError: the time is infinite.
        """
        self.count_all((int(seconds * NANOSECONDS + 0.5) if seconds > 0 else 0,))

    def count_all(self, nanoseconds: Sequence[int]) -> None:
        """Count many times, in whole nanoseconds. Times below 0 count as 0."""
        if not nanoseconds:
            return
        low = min(nanoseconds)
        if low < 0:
            nanoseconds, low = [max(0, time) for time in nanoseconds], 0
        self._uncounted += struct.pack(f"{len(nanoseconds)}f", *nanoseconds)
        if len(self._uncounted) >= MAX_UNCOUNTED:
            self._unpack()
        self._add(len(nanoseconds), sum(nanoseconds), low, max(nanoseconds))

    def merge(self, other: Histogram) -> None:
        """Add the times of `other`, as if they had been counted here."""
        if other.count:
            buckets = self._unpack()
            for bucket, count in _buckets_of(other._packed) if other._is_packed else other._unpack().items():
                buckets[bucket] = buckets.get(bucket, 0) + count  # Counter.update takes 25 % longer
            self._add(other.count, other._total, other._min, other._max)

    def _unpack(self) -> Counter[int]:
        if self._packed:
            self._buckets.update(dict(_buckets_of(self._packed)))
            self._packed = b""
        if self._uncounted:
            self._buckets.update(memoryview(self._uncounted).cast("H")[UPPER_HALVES])
            self._uncounted = b""
        return self._buckets

    @property
    def _is_packed(self) -> bool:
        return bool(self._packed) and not self._uncounted

    def _add(self, count: int, total: int, low: int, high: int) -> None:
        is_empty = self.count == 0
        self._min = low if is_empty else min(low, self._min)
        self._max = high if is_empty else max(high, self._max)
        self.count += count
        self._total += total

    @property
    def min(self) -> float | None:
        """The shortest time, in seconds."""
        return self._min / NANOSECONDS if self.count else None

    @property
    def max(self) -> float | None:
        """The longest time, in seconds."""
        return self._max / NANOSECONDS if self.count else None

    @property
    def mean(self) -> float | None:
        """The average, in seconds."""
        return self._total / (self.count * NANOSECONDS) if self.count else None

    def buckets(self) -> list[tuple[int, int]]:
        """Return (bucket, count) of each bucket with a time, the shortest times first. `middle` gives the time."""
        if self._is_packed:
            return list(_buckets_of(self._packed))
        counted = self._unpack()
        buckets = sorted(counted)
        return list(zip(buckets, map(counted.__getitem__, buckets), strict=True))

    def percentile(self, percent: float) -> float | None:
        """The time that `percent` of all times do not exceed (nearest rank), in seconds.

        Args:
            percent: from 0 (`min`) to 100 (`max`). 99.9 means 99.9 exactly, not the nearest binary fraction.

        Raises:
            ValueError: `percent` is outside this range.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile lies between 0 and 100, not at {percent!r}")
        if not self.count:
            return None
        share = _share(percent)
        rank = -(-share.numerator * self.count // share.denominator)
        if rank <= 1 or rank == self.count:
            return (self._min if rank <= 1 else self._max) / NANOSECONDS
        buckets = self.buckets()
        seen = accumulate(count for _, count in buckets)
        bucket = next(bucket for (bucket, _), below in zip(buckets, seen, strict=True) if below >= rank)
        return min(max(middle(bucket), self._min), self._max) / NANOSECONDS

    def to_bytes(self) -> bytes:
        """Return the histogram as bytes. Most buckets take two: the gap to the bucket before, and the count."""
        if self._is_packed or not self.count:
            return self._packed
        counted = self._unpack()
        buckets = sorted(counted)
        counts = [*map(counted.__getitem__, buckets)]
        gaps = [*map(sub, buckets[1:], buckets)]
        widths = _width(gaps), _width(counts)
        total = divmod(self._total, 1 << WORD_BITS)
        header = HEADER.pack(self.count, *total, self._min, self._max, len(buckets), buckets[0], *widths)
        return header + struct.pack(_layout(len(buckets), *widths), *gaps, *counts)

    def compact(self) -> None:
        """Store the counts as bytes until they change. This takes a twentieth of the memory."""
        if self.count:
            self._packed, self._buckets = self.to_bytes(), Counter()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Restore a histogram from the bytes of `to_bytes`."""
        histogram = cls()
        if data:
            count, high, low, shortest, longest, *_ = HEADER.unpack_from(data)
            histogram._add(count, (high << WORD_BITS) + low, shortest, longest)
            histogram._packed = data
        return histogram

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.to_bytes() == other.to_bytes()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Histogram of {self.count}, {self.min} to {self.max} s>"


@cache
def _share(percent: float) -> Fraction:
    return Fraction(str(percent)) / 100


def middle(bucket: int) -> float:
    """Return the middle of a bucket, in nanoseconds: at most 0.4 % away from each time in the bucket."""
    lower, upper = struct.unpack(">2f", struct.pack(">HHHH", bucket, 0, bucket + 1, 0))
    return float((lower + upper) / 2)


def _buckets_of(data: bytes) -> Iterable[tuple[int, int]]:
    size, first, gap_width, count_width = HEADER.unpack_from(data)[-4:]
    numbers = struct.unpack_from(_layout(size, gap_width, count_width), data, HEADER.size)
    return zip(accumulate(numbers[: size - 1], initial=first), numbers[size - 1 :], strict=True)


def _width(numbers: Sequence[int]) -> int:
    """Return the size in bytes of the smallest unsigned integer that holds each number."""
    longest = max(numbers, default=0).bit_length()
    return next(width for width in CODES if longest <= 8 * width)


def _layout(size: int, gap_width: int, count_width: int) -> str:
    return f"<{size - 1}{CODES[gap_width]}{size}{CODES[count_width]}"
