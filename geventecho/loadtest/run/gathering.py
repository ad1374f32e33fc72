"""Collects the blocks and the health of this process: on a worker for each report, otherwise once a second."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import chain
from random import choices
from typing import Any

from locust.env import Environment

from geventecho.loadtest.measure import health_of, latencies_of, second_of
from geventecho.loadtest.users import planner_of, tcp_users_of
from geventecho.results import TASK, Block, RowKey

__all__ = ["Gathering"]


class Gathering:
    """The blocks and the health of this process.

    Args:
        environment: Locust's environment.
    """

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._latencies = latencies_of(environment)
        self._health = health_of(environment)
        self._planner = planner_of(environment)
        self._users: list[int] = []
        environment.events.test_start.add_listener(lambda **_: self._planner.take_dropped())

    def take_blocks(self) -> Iterator[tuple[RowKey, Block]]:
        """Return the blocks since the last call with their rows, and forget them at once. See `Latencies.take`."""
        return chain(self._latencies.take(), self._take_dropped())

    def take_health(self) -> list[list[Any]]:
        """Return the samples since the last call, and forget them."""
        return self._health.take()

    def _take_dropped(self) -> list[tuple[RowKey, Block]]:
        """Blocks of the dropped instants, by the second in which an instant fell due.

        The user class that would have taken an instant is unknown. So the class is drawn at random, weighted by the
        numbers of users.
        """
        instants = self._planner.take_dropped()
        classes = choices(*self._weights(), k=len(instants)) if instants else []  # noqa: S311
        counts = Counter((second_of(int(at * 1e9)), name) for at, name in zip(instants, classes, strict=True))
        return [((TASK, name), Block(second, dropped=count)) for (second, name), count in counts.items()]

    def _weights(self) -> tuple[list[str], list[int]]:
        """The user classes that follow the plan, and their numbers of users that run, or ran before the end."""
        names = [found.__name__ for found in tcp_users_of(self._environment)]
        if len(names) > 1 and self._environment.runner is not None:
            running = self._environment.runner.user_classes_count
            if any(counts := [running.get(name, 0) for name in names]):
                self._users = counts
        return names, self._users if len(self._users) == len(names) else [1] * len(names)
