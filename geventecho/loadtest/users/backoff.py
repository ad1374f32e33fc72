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

    The longest possible pause grows with each consecutive failure. Each pause is random between 0 and this length
    ("full jitter"), so that the users of a restarted server do not come back together.

    Args:
        user: the user.
        base: the longest pause after a first failure, in seconds. It doubles with each further failure.
        cap: the upper limit of all pauses, in seconds.

    Attributes:
        failures: the number of consecutive failures.
    """

    def __init__(self, user: User, base: float, cap: float) -> None:
        self._user = user
        self._base = base
        self._cap = cap
        self.failures = 0

    def succeeded(self) -> None:
        """Note that an operation succeeded: the next failure counts as the first."""
        self.failures = 0

    def failed(self) -> None:
        """Note that an operation failed."""
        self.failures += 1

    def pause(self) -> None:
        """Wait for a pause of a length that depends on the failures; without a failure return at once."""
        if self.failures:
            ceiling = min(self._cap, self._base * 2.0 ** min(self.failures - 1, 32))
            account = account_of(self._user.environment)
            account.pausing += 1
            try:
                pause(self._user, random.random() * ceiling)  # noqa: S311
            finally:
                account.pausing -= 1


def pause(user: User, seconds: float) -> None:
    """Sleep as Locust's `wait` does: a user that is stopped during the pause ends at once, with any stop timeout."""
    begin_wait(user)
    gevent.sleep(seconds)
    end_wait(user)
