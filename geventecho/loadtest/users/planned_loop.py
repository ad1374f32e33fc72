"""The task loop of a `TcpUser` in open mode: each task begins at a planned instant, and wait times are not used."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from time import perf_counter
from typing import Any

import gevent
from gevent import get_hub
from locust.user.task import TaskSet

from geventecho.loadtest.locust_internals import DefaultTaskSet, begin_wait, end_wait
from geventecho.loadtest.measure import ABORTS, latencies_of, leaves_task
from geventecho.loadtest.users.planner import planner_of
from geventecho.results import TASK

__all__ = ["PlannedLoop"]


class Planned:
    """Makes a task set follow the plan; a mixin for Locust's root loop and for nested task sets."""

    user: Any
    last_iteration = -1  # the iteration of the event loop in which the last task began
    entered = False  # whether the set has taken an instant and has not begun a task for it
    has_begun = False  # whether a task has begun since the last wait

    def wait(self) -> None:
        """Return at once, because the next task waits for its instant. If no task has begun, wait as Locust does."""
        if not self.has_begun:
            super().wait()  # type: ignore[misc]
        self.has_begun = False

    def execute_task(self, task: Any) -> None:
        """Begin a task at its instant. A nested task set is entered at the instant of its first task.

        The set's `on_start` may fail or leave the set, so that no task begins. So each entry takes an instant:
        otherwise such a set would be an endless loop without a wait.
        """
        execute: Callable[[Any], None] = super().execute_task  # type: ignore[misc]
        if not self.entered:
            self._take()
        self.entered, self.has_begun = False, True
        left: BaseException | None = None
        try:
            execute(_planned(task) if isinstance(task, type) and issubclass(task, TaskSet) else task)
        except BaseException as error:
            left = error
            raise
        finally:
            self._end(left)

    def _take(self) -> None:
        user = self.user
        user.client.pause()
        begin_wait(user)
        loop = get_hub().loop
        if self.last_iteration == loop.iteration:  # no other greenlet has run since the last task began
            gevent.sleep(0)
        self.last_iteration = loop.iteration
        instant = planner_of(user.environment).take()
        end_wait(user)
        user.client.plan_task(instant)

    def _end(self, error: BaseException | None) -> None:
        """Record the ended task. A nested task set is not recorded, because its first task has used its instant."""
        user = self.user
        instant: float | None = user.client.task_instant
        user.client.plan_task(None)
        if instant is not None and not isinstance(error, ABORTS):
            key, took = (TASK, type(user).__name__), perf_counter() - instant
            is_good = error is None or leaves_task(error)
            latencies_of(user.environment).record(key, int(took * 1e9), ok=is_good)


class PlannedLoop(Planned, DefaultTaskSet):  # type: ignore[misc]  # a new Locust may lack this class
    """Executes the tasks of `User.tasks` at their instants."""


@cache
def _planned(task_set: type[TaskSet]) -> type[TaskSet]:
    """Return a subclass that follows the plan. Locust's metaclass would collect the tasks again, so `type` makes it."""
    made: type[TaskSet] = type.__new__(type(task_set), task_set.__name__, (Planned, task_set), {"entered": True})
    return made
