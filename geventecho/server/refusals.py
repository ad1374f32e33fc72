"""One log line a second about the clients that were turned away: a flood of clients must not flood the log."""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Final

from gevent import get_hub

__all__ = ["RefusalLog"]

logger = logging.getLogger("geventecho.server")

LOG_SECONDS: Final = 1.0


class RefusalLog:
    """Counts refusals for a second, then writes one line."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._timer: Any = None

    def add(self, why: str, count: int = 1) -> None:
        """Count clients that were turned away. The hub calls this; it does not block."""
        self._counts[why] += count
        if self._timer is None:
            self._timer = get_hub().loop.timer(LOG_SECONDS, ref=False)
            self._timer.start(self.write)

    def write(self) -> None:
        """Write the counts so far, if there are any."""
        if self._timer is not None:
            self._timer.close()
            self._timer = None
        if self._counts:
            reasons = ", ".join(f"{why} {count}" for why, count in self._counts.items())
            self._counts.clear()
            logger.warning("clients turned away within a second: %s", reasons)
