"""Latency counts: at most 1 % relative error, mergeable without loss.

Times are kept as whole nanoseconds in buckets that get wider with them, as in HdrHistogram: the seven leading binary
digits of a time choose its bucket, so that no bucket is wider than a 64th of its lower edge and its middle is never
more than 1/128 (0.8 %) away from a time in it. Integers make sums and merges exact, whatever their order.
"""

from __future__ import annotations

import math
from typing import Any, Final, Self

__all__ = ["Histogram"]

LEADING_DIGITS: Final = 7
PER_OCTAVE: Final = 1 << (LEADING_DIGITS - 1)
NANOSECONDS: Final = 1_000_000_000
EMPTY_RANGE: Final = (1, 0)  # no time lies in it, so that the first one widens it like any other


class Histogram:
    """Counts of times, in seconds.

    `count`, `min`, `max` and `mean` are exact to the nanosecond; percentiles are within 1 % from 1 µs to 100 s and
    beyond. `min`, `max`, `mean` and the percentiles are None while nothing is counted.
    """

    __slots__ = ("_buckets", "_max", "_min", "_total", "count")

    def __init__(self) -> None:
        self.count = 0
        self._buckets: dict[int, int] = {}
        self._total = 0
        self._min, self._max = EMPTY_RANGE

    def record(self, seconds: float) -> None:
        """Count one time; below 0 counts as 0.

        Raises:
            OverflowError: it is infinite.
        """
        nanoseconds = int(seconds * NANOSECONDS + 0.5) if seconds > 0 else 0
        shift = nanoseconds.bit_length() - LEADING_DIGITS
        bucket = nanoseconds if shift <= 0 else shift * PER_OCTAVE + (nanoseconds >> shift)
        buckets = self._buckets
        buckets[bucket] = buckets.get(bucket, 0) + 1
        self.count += 1
        self._total += nanoseconds
        if not self._min <= nanoseconds <= self._max:
            self._widen(nanoseconds, nanoseconds)

    def merge(self, other: Histogram) -> None:
        """Add all that `other` counted, as if it had been counted here."""
        for bucket, count in other._buckets.items():
            self._buckets[bucket] = self._buckets.get(bucket, 0) + count
        if other.count:
            self._widen(other._min, other._max)
        self.count += other.count
        self._total += other._total

    def _widen(self, low: int, high: int) -> None:
        is_empty = self._min > self._max
        self._min = low if is_empty else min(low, self._min)
        self._max = high if is_empty else max(high, self._max)

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
        return self._total / self.count / NANOSECONDS if self.count else None

    def percentile(self, percent: float) -> float | None:
        """The time that `percent` of all times do not exceed (nearest rank), in seconds.

        Args:
            percent: from 0 (`min`) to 100 (`max`).

        Raises:
            ValueError: it is outside that.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"a percentile lies between 0 and 100, not at {percent!r}")
        if not self.count:
            return None
        rank = math.ceil(self.count * percent / 100)
        if rank <= 1 or rank == self.count:
            return (self._min if rank <= 1 else self._max) / NANOSECONDS
        seen = 0
        for bucket in sorted(self._buckets):
            seen += self._buckets[bucket]
            if seen >= rank:
                break
        return min(max(_middle(bucket), self._min), self._max) / NANOSECONDS

    def to_dict(self) -> dict[str, Any]:
        """All of it in a dict of integers and one flat list, for msgpack or JSON.

        `buckets` alternates bucket and count.
        """
        flat = [number for bucket in sorted(self._buckets) for number in (bucket, self._buckets[bucket])]
        return {"total": self._total, "min": self._min, "max": self._max, "buckets": flat}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Restore what `to_dict` gave."""
        histogram = cls()
        flat = data["buckets"]
        histogram._buckets = dict(zip(flat[::2], flat[1::2], strict=True))
        histogram.count = sum(flat[1::2])
        histogram._total = data["total"]
        histogram._min = data["min"]
        histogram._max = data["max"]
        return histogram

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Histogram of {self.count}, {self.min} to {self.max} s>"


def _middle(bucket: int) -> int:
    shift = max(0, bucket // PER_OCTAVE - 1)
    lower = (bucket - shift * PER_OCTAVE) << shift
    return lower + ((1 << shift) >> 1)
