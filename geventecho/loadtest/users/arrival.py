"""Many users in one process: how they arrive, and what their number does to the cycle collector."""

from __future__ import annotations

import gc
import random
from typing import Final

__all__ = ["CROWD", "Burst", "Crowd"]

# Connects a second that one spawn may cause, see `Burst`.
BURST_RATE: Final = 1000.0


class Burst:
    """The users that were spawned at one stroke.

    Locust spawns floor(rate) users at once, then waits: at 1,000 a second, a thousand connects in the same millisecond.
    They would queue behind each other in this process, measure that queue as connect time, and go on in step. So each
    user waits first, for a random time within that which its burst takes at 1,000 a second, a second at most.
    """

    def __init__(self) -> None:
        self.size = 0

    def delay(self) -> float:
        """Seconds for one of its users to wait before it connects."""
        return random.random() * min(1.0, self.size / BURST_RATE)  # noqa: S311


class Crowd:
    """The users of this process.

    Each stays until the test ends, and the cycle collector would go through all of them again and again: with 10,000
    users for half a second at a time, in which no user sends or receives. So before more users come, those that are
    there are hidden from it (gc.freeze). When the last one has gone, they are shown to it again.
    """

    def __init__(self) -> None:
        self._users = 0
        self._burst: Burst | None = None
        self._freezes = False
        self._frozen_before = False

    def freeze(self) -> None:
        """Hide users from the cycle collector from now on. Without this call it is left alone."""
        if not self._freezes:
            self._freezes = True
            # `locust --processes` freezes what its workers share with it, to keep them small.
            self._frozen_before = gc.get_freeze_count() > 0

    def arrive(self) -> Burst:
        """A user was made; returns the burst it belongs to."""
        self._users += 1
        if self._burst is None:
            if self._freezes:
                gc.freeze()
            self._burst = Burst()
        self._burst.size += 1
        return self._burst

    def begin(self) -> None:
        """A user runs: no more will join its burst."""
        self._burst = None

    def leave(self) -> None:
        """A user has gone."""
        self._users -= 1
        if self._users == 0 and self._freezes:
            gc.unfreeze()
            if self._frozen_before:
                gc.collect()
                gc.freeze()


CROWD: Final = Crowd()
"""All of them."""
