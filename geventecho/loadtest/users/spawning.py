"""Many users in one process: spread connects over time, and short pauses of the cycle collector."""

from __future__ import annotations

import gc
import random
from typing import Final
from weakref import WeakSet

from locust import User

__all__ = ["SPAWNED_USERS", "Burst", "SpawnedUsers"]

BURST_RATE: Final = 1000.0
"""Connects a second of the users of one burst."""
MANY_USERS: Final = 500
"""Up to this number of users a pause of the cycle collector takes a few milliseconds at most."""
NEVER: Final = 1_000_000
"""The last threshold for `gc.set_threshold`: the collector visits all objects only after 7 billion new objects."""


class Burst:
    """The users that Locust spawned together.

    Locust spawns floor(rate) users in one instant, then waits a second. At a rate of 1,000 a thousand connects are in
    the same millisecond. They wait in a queue in this process, and their connect times measure this queue. So each user
    first waits for a random time, which is at most the length of the burst at 1,000 connects a second, and at most one
    second.

    This spreads the connects. `TcpUser.wait_time` spreads the tasks: after one random wait the users of a burst are
    spread evenly over the think time.

    Attributes:
        size: the number of users in the burst.
    """

    def __init__(self) -> None:
        self.size = 0

    def delay(self) -> float:
        """Return the seconds for which a user waits before it connects."""
        return random.random() * min(1.0, self.size / BURST_RATE)  # noqa: S311


class SpawnedUsers:
    """The users of this process.

    The cycle collector would visit all of them repeatedly. With 10,000 users each visit takes half a second, and no
    user sends or receives in this time. Reference counting frees a user that has ended. So with many users the
    collector visits only new objects. A user class may have reference cycles, such as a helper with a reference to its
    user. So the collector visits all objects once when the memory holds more ended users than running users.
    """

    def __init__(self) -> None:
        self._users = 0
        self._burst: Burst | None = None
        self._is_tuned = False
        self._thresholds: tuple[int, int, int] | None = None
        self._ended: WeakSet[User] = WeakSet()

    def tune_collector(self) -> None:
        """Keep the pauses of the cycle collector short from now on. Without this call the collector is unchanged."""
        if not self._is_tuned:
            self._is_tuned = True
            gc.freeze()  # the 50,000 objects of imported modules live until the process ends

    def add(self) -> Burst:
        """Count a new user, and return its burst."""
        self._users += 1
        if self._is_tuned and self._users > MANY_USERS and self._thresholds is None:
            self._thresholds = gc.get_threshold()
            gc.set_threshold(*self._thresholds[:2], NEVER)
        if self._burst is None:
            self._burst = Burst()
        self._burst.size += 1
        return self._burst

    def end_burst(self) -> None:
        """End the burst. One of its users runs, so Locust has spawned all of them."""
        self._burst = None

    def remove(self, user: User) -> None:
        """Count a user that has ended."""
        self._users -= 1
        self._ended.add(user)
        if self._thresholds is None:
            return
        if self._users <= MANY_USERS:
            gc.set_threshold(*self._thresholds)
            self._thresholds = None
        elif len(self._ended) > self._users:
            gc.collect()


SPAWNED_USERS: Final = SpawnedUsers()
"""All users of this process."""
