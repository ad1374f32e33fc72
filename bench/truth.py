"""The record of the server of known latency (servers/c_latency.c): true times, and the arrivals of messages."""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.contenders import BenchError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["PERCENTS", "Truth", "exponential_distance", "unevenness"]

PERCENTS: Final = (50.0, 95.0, 99.0, 99.9)
FIELDS: Final = 2  # of a message: its arrival and the leaving of its reply, in ns since 1970


@dataclass(frozen=True)
class Truth:
    """A part of a record.

    Attributes:
        arrivals: of its messages, ascending, in ns since 1970.
        times: from an arrival to the leaving of the reply, ascending, in ns.
    """

    arrivals: Sequence[int]
    times: Sequence[int]

    @classmethod
    def read(cls, path: Path, begin: int = 0, end: int = 1 << 63) -> Truth:
        """The messages whose replies left in a span: a load generator counts them in the same span.

        Args:
            path: of the record.
            begin, end: of the span, in ns since 1970.

        Raises:
            BenchError: the server was killed before it wrote the record, or no reply left in the span.
        """
        if not path.exists():
            raise BenchError(f"the server of known latency wrote no {path.name}")
        numbers = array("q", path.read_bytes())
        pairs = zip(numbers[::FIELDS], numbers[1::FIELDS], strict=True)
        inside = [(came, left - came) for came, left in pairs if begin <= left < end]
        if not inside:
            raise BenchError("the server of known latency got no message in the measured part")
        return cls(sorted(came for came, _ in inside), sorted(time for _, time in inside))

    def percentile(self, percent: float) -> float:
        """The time that `percent` of the messages do not exceed, by nearest rank, in microseconds."""
        return self.times[max(math.ceil(len(self.times) * percent / 100) - 1, 0)] / 1e3

    def percentiles(self) -> list[float]:
        """The times of PERCENTS, in microseconds."""
        return [self.percentile(percent) for percent in PERCENTS]

    def distances(self) -> list[float]:
        """The seconds between one arrival and the next one, ascending."""
        return sorted((after - before) / 1e9 for before, after in zip(self.arrivals, self.arrivals[1:], strict=False))


def exponential_distance(distances: Sequence[float], rate: float) -> float:
    """The Kolmogorov-Smirnov distance between the real arrivals and Poisson arrivals.

    It is the largest difference of the two distribution functions. Chance alone makes it 0.87 / sqrt(n) on average.

    Args:
        distances: the seconds between arrivals, ascending.
        rate: the planned arrivals a second.
    """
    count = len(distances)
    planned = [-math.expm1(-rate * seconds) for seconds in distances]
    return max(max((at + 1) / count - share, share - at / count) for at, share in enumerate(planned))


def unevenness(distances: Sequence[float], rate: float) -> float:
    """The share of distances between arrivals that differ from the planned distance by more than a tenth of it.

    The Kolmogorov-Smirnov distance does not measure the error of even arrivals: with errors of any size, half of the
    distances are shorter than planned, which makes it 0.5. So an error of up to a tenth of the distance does not count.
    """
    return sum(abs(seconds * rate - 1) > 0.1 for seconds in distances) / len(distances)
