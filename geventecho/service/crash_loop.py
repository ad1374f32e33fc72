"""Delays the replacement of workers that end soon after their start."""

from __future__ import annotations

import time
from typing import Final

__all__ = ["CrashLoop"]

MIN_LIFETIME: Final = 5.0
"""Seconds. A worker that ends by itself at a lower age is part of a crash loop."""
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0
QUIET: Final = 30.0
"""Seconds without such an end after which the count begins again."""
MAX_ENDS: Final = 10
"""Consecutive ends after which no worker is started any more. With the delays between them they take 20 seconds."""


class CrashLoop:
    """Counts consecutive workers that end soon. Delays their replacement by 0.1 s, doubled each time, at most 5 s."""

    def __init__(self) -> None:
        self._early_ends = 0
        self._start_after = 0.0
        self._last_end = 0.0

    def count(self, age: float) -> bool:
        """Count the end of a worker that ended by itself at this age, in seconds; return whether to give up."""
        last_end, self._last_end = self._last_end, time.monotonic()
        if self._last_end - last_end > QUIET:
            self._early_ends = 0
        self._early_ends = self._early_ends + 1 if age < MIN_LIFETIME else 0
        if self._early_ends:
            self.wait(FIRST_DELAY * 2.0 ** (self._early_ends - 1))
        return self._early_ends >= MAX_ENDS

    def wait(self, seconds: float = FIRST_DELAY) -> None:
        """Start no worker for `seconds`, at most LONGEST_DELAY. An earlier call may have set a later time."""
        self._start_after = max(self._start_after, time.monotonic() + min(seconds, LONGEST_DELAY))

    def delay(self) -> float:
        """Seconds until a worker may be started."""
        return max(0.0, self._start_after - time.monotonic())
