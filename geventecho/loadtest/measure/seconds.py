"""The whole seconds of a test. They begin with the test, at the same instant in all its processes.

So if all stages last whole seconds, no second has parts of two stages.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Final

from geventecho.net import CLOCK, StampClock

__all__ = ["NANOSECONDS", "SECONDS", "Seconds", "second_of", "seconds_now"]

NANOSECONDS: Final = 1_000_000_000


class Seconds:
    """Counts seconds since the epoch, minus the fraction of a second at the test's start. The count is never stepped.

    Attributes:
        offset: the nanoseconds to add to time.perf_counter_ns().
    """

    __slots__ = ("offset",)

    def __init__(self) -> None:
        self.offset = CLOCK.offset

    def begin(self, wall: int) -> int:
        """Make a second begin at an instant of time.time_ns(), and return the instant."""
        second, part = divmod(wall, NANOSECONDS)
        self.offset = StampClock().offset - part
        return second


SECONDS: Final = Seconds()
"""The seconds of this process."""


def second_of(instant: int) -> int:
    """The whole second of an instant of time.perf_counter_ns()."""
    return (instant + SECONDS.offset) // NANOSECONDS


def seconds_now() -> float:
    """The current time in these seconds, with a fraction."""
    return (perf_counter_ns() + SECONDS.offset) / NANOSECONDS
