"""One monotonic time budget shared by the steps of an operation."""

from __future__ import annotations

import math
import time

__all__ = ["Deadline"]


class Deadline:
    """A point in time that several steps share, so that they cannot each use the whole budget.

    Args:
        seconds: the budget from now, in seconds; None sets no end.
    """

    __slots__ = ("when",)

    def __init__(self, seconds: float | None) -> None:
        self.when = math.inf if seconds is None else time.monotonic() + seconds

    def remaining(self) -> float:
        """Seconds left, never below 0; infinite when there is no end."""
        return max(0.0, self.when - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether the budget is used up."""
        return time.monotonic() >= self.when
