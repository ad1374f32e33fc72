"""Pauses that end when their user is stopped."""

from __future__ import annotations

import random

import gevent
from locust import User

from geventecho.loadtest.locust_internals import begin_wait, end_wait
from geventecho.loadtest.measure import account_of

__all__ = ["Backoff", "pause"]


class Backoff:
    """A user's pauses between one connect and the next.

    They grow with each failure in a row, and each is drawn from the whole of its length ("full jitter"): the users of a
    server that was restarted do not come back in step.

    Args:
        user: the user.
        base: the longest pause after a first failure, in seconds. It doubles with each further failure.
        cap: the longest pause of all, in seconds.

    Attributes:
        failures: in a row, so far.
    """

    def __init__(self, user: User, base: float, cap: float) -> None:
        self._user = user
        self._base = base
        self._cap = cap
        self.failures = 0

    def succeeded(self) -> None:
        """An operation was answered: the next failure is the first of its row."""
        self.failures = 0

    def failed(self) -> None:
        """An operation failed."""
        self.failures += 1

    def pause(self) -> None:
        """Wait as the failures so far demand; not at all when there is none."""
        if self.failures:
            ceiling = min(self._cap, self._base * 2.0 ** min(self.failures - 1, 32))
            account = account_of(self._user.environment)
            account.pausing += 1
            try:
                pause(self._user, random.random() * ceiling)  # noqa: S311
            finally:
                account.pausing -= 1


def pause(user: User, seconds: float) -> None:
    """Sleep as Locust's own `wait` does: a user that is stopped meanwhile ends at once, whatever the stop timeout."""
    begin_wait(user)
    gevent.sleep(seconds)
    end_wait(user)
