"""Trends: whether a value rose or fell while the load stayed the same.

A server with too much load builds a queue. Its response times then grow as long as the run lasts, so the percentiles
depend on the length of the run and not on the server.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["Trend", "trend"]

MIN_POINTS: Final = 10
"""With fewer points there is no trend."""
MAX_POINTS: Final = 60
"""The most points to compare in pairs. More points are averaged in groups."""
ORDER: Final = 0.5
"""The least Kendall's tau of ordered values. Without a trend, 1 of 1,000 sequences of 20 values reaches it."""
CERTAINTY: Final = 3.3
"""The same limit for fewer points, in standard deviations of tau."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A trend over a span.

    Attributes:
        level: the median of the values.
        change: the change from the first point to the last, along the line.
        minutes: the time from the first point to the last.
        is_ordered: whether the values rise or fall by more than chance.
    """

    level: float
    change: float
    minutes: float
    is_ordered: bool

    @property
    def per_minute(self) -> float:
        """The slope."""
        return self.change / self.minutes


def trend(points: Sequence[tuple[float, float]]) -> Trend | None:
    """Find the trend of points: the median of the slopes between any two points (Sen 1968), and Kendall's tau.

    A least-squares line would follow a short stall near an end of the span. The median slope does not, as long as less
    than 29 % of the points are off the line.

    Args:
        points: second and value, in order of time.

    Returns:
        The trend; None with too few points.
    """
    if len(points) < MIN_POINTS:
        return None
    grouped = _grouped(points)
    pairs = [
        (later[1] - earlier[1], later[0] - earlier[0])
        for index, later in enumerate(grouped)
        for earlier in grouped[:index]
    ]
    slope = statistics.median(rise / run for rise, run in pairs)
    count = len(grouped)
    score = sum((rise > 0) - (rise < 0) for rise, _ in pairs)
    deviation = math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    span = grouped[-1][0] - grouped[0][0]
    return Trend(
        level=statistics.median(value for _, value in grouped),
        change=slope * span,
        minutes=span / 60,
        is_ordered=abs(score) >= max(ORDER * len(pairs), CERTAINTY * deviation),
    )


def _grouped(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    size = math.ceil(len(points) / MAX_POINTS)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        (statistics.fmean(second for second, _ in group), statistics.fmean(value for _, value in group))
        for group in groups
    ]
