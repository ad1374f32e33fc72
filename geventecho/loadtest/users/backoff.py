"""Pauses that end when their user is stopped."""

from __future__ import annotations

import random

import gevent
from locust import User
from locust.exception import StopUser
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING

__all__ = ["Backoff", "rest"]


class Backoff:
    """A user's pauses between one connect and the next.

    They grow with each failure in a row and are random all over their length ("full jitter"), so that the users of a
    server that went away do not come back in step.

    Args:
        user: whose.
        base: seconds that the pause after a first failure has at most; they double with each more.
        cap: seconds that a pause never exceeds.

    Attributes:
        failures: in a row, so far.
    """

    def __init__(self, user: User, base: float, cap: float) -> None:
        self._user = user
        self._base = base
        self._cap = cap
        self.failures = 0

    def pause(self) -> None:
        """Wait as the failures so far demand; not at all when there is none."""
        if self.failures:
            ceiling = min(self._cap, self._base * 2.0 ** min(self.failures - 1, 32))
            rest(self._user, random.random() * ceiling)  # noqa: S311


def rest(user: User, seconds: float) -> None:
    """Sleep as Locust's own `wait` does: a user that is stopped meanwhile ends at once, whatever the stop timeout."""
    if user._state == LOCUST_STATE_STOPPING:
        raise StopUser
    user._state = LOCUST_STATE_WAITING
    gevent.sleep(seconds)
    if user._state == LOCUST_STATE_STOPPING:
        raise StopUser
    user._state = LOCUST_STATE_RUNNING
