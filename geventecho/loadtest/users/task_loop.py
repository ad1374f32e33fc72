"""Locust's task loop, cheaper.

After each task Locust lets a user wait, if only for 0 seconds: with gevent's sleep, which lets everybody else run. A
task that waited for a reply has done that already, and the second time was an eighth of a flat-out user's cost. And
from one task to the next Locust takes nine calls; where there is but one task, they were another tenth.

The state machine (running, waiting, stopping) stays Locust's own, so a user is stopped where it always was.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from gevent import get_hub
from locust.exception import RescheduleTaskImmediately, StopUser
from locust.user.task import (
    LOCUST_STATE_RUNNING,
    LOCUST_STATE_STOPPING,
    LOCUST_STATE_WAITING,
    DefaultTaskSet,
    TaskSet,
)

from geventecho.loadtest.users.tcp_user import TcpUser

__all__ = ["install"]

_sleep: Final[Callable[[TaskSet, float], None]] = TaskSet._sleep
_get_next_task: Final[Callable[[DefaultTaskSet], Any]] = DefaultTaskSet.get_next_task
_execute_next_task: Final[Callable[[DefaultTaskSet], None]] = DefaultTaskSet.execute_next_task
_execute_task: Final[Callable[..., None]] = DefaultTaskSet.execute_task
_wait: Final[Callable[..., None]] = DefaultTaskSet.wait
_wait_time: Final[Callable[..., float]] = DefaultTaskSet.wait_time


def install() -> None:
    """Make this process's Locust use it."""
    TaskSet._sleep = sleep  # type: ignore[method-assign]
    DefaultTaskSet.get_next_task = get_next_task  # type: ignore[method-assign]
    DefaultTaskSet.execute_next_task = execute_next_task  # type: ignore[method-assign, assignment]


def sleep(self: TaskSet, seconds: float) -> None:
    """As Locust's own, but 0 seconds are over for a user of ours that has let the others run since it last came here.

    While a greenlet runs the loop stands still: where it has turned meanwhile, everybody who was ready has had a turn.
    """
    user = self.user
    if not isinstance(user, TcpUser):
        _sleep(self, seconds)
        return
    loop = get_hub().loop
    turn = loop.iteration
    if seconds > 0 or user.last_turn == turn:
        _sleep(self, seconds)
        turn = loop.iteration
    user.last_turn = turn


def get_next_task(self: DefaultTaskSet) -> Any:
    """As Locust's own, but throws no dice where there is one task."""
    tasks = self.user.tasks
    return tasks[0] if len(tasks) == 1 else _get_next_task(self)


def execute_next_task(self: DefaultTaskSet) -> None:
    """As Locust's own, but the only task of a user of ours is done again and again until something else is up.

    What a task or a wait raises ends this, and Locust's loop, which called it, does with that what it always does.
    """
    user, queue = self.user, self._task_queue
    task = queue[0]
    if not isinstance(user, TcpUser) or user.tasks != [task] or hasattr(task, "tasks") or not _usual(self):
        _execute_next_task(self)
        return
    del queue[0]
    tasks = user.tasks
    loop = get_hub().loop
    while True:
        task(user)
        if user._state == LOCUST_STATE_STOPPING:
            raise StopUser
        # Before wait_time, which may itself wait: a user that is stopped there ends there.
        user._state = LOCUST_STATE_WAITING
        seconds = user.wait_time()
        if seconds <= 0 and user.last_turn != loop.iteration:  # `sleep`, in place, for the many who need none
            user.last_turn = loop.iteration
        else:
            self._sleep(seconds)
        if user._state == LOCUST_STATE_STOPPING:
            raise StopUser
        user._state = LOCUST_STATE_RUNNING
        if queue or user.tasks is not tasks or len(tasks) != 1 or tasks[0] is not task:
            raise RescheduleTaskImmediately


def _usual(taskset: DefaultTaskSet) -> bool:
    """Whether the steps that the loop above leaves out are Locust's: plugins replace them, to limit iterations say."""
    kind = type(taskset)
    steps = (kind.get_next_task, kind.execute_task, kind.wait, kind.wait_time)
    return steps == (get_next_task, _execute_task, _wait, _wait_time) and taskset.user.wait_time is not None
