"""Scripts of test_only_task.py."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import gevent
import locust
from locust.exception import RescheduleTask, StopUser
from locust.user.task import DefaultTaskSet, TaskSet

from geventecho.loadtest import TcpUser
from tests.support.harness import BusyUser, EchoUser, Run, count_sleeps, task_user
from tests.support.timing import UNIT


def other_tasks_and_errors(target: str) -> dict[str, Any]:
    """Other tasks given at run time, a task scheduled by hand, an error, rescheduling, and a wait_time that fails."""
    logging.getLogger("locust.user.task").disabled = True  # the two errors, with their tracebacks
    others = []

    class User(BusyUser):
        turns = 0

        def wait_time(self) -> float:
            if self.turns == 40:
                self.turns += 1
                raise ValueError("no time")
            return 0.0

        @locust.task
        def echo(self) -> None:
            self.client.echo(self.next_payload())
            self.turns += 1
            if self.turns == 10:
                assert self._taskset_instance is not None
                self._taskset_instance.schedule_task(other)
            elif self.turns == 20:
                raise RescheduleTask
            elif self.turns == 30:
                raise ValueError("of the task")
            elif self.turns == 50:
                self.tasks = [other]

    def other(user: User) -> None:
        user.client.echo(user.next_payload(), name="other")
        others.append(user.turns)
        if user.turns >= 50:
            user.tasks = type(user).tasks
            user.turns += 1

    run = Run(User, target)
    run.wait(lambda: run.count("echo") >= 200)
    return run.finish() | {"others": others}


def graceful_stop(target: str) -> dict[str, Any]:
    """`stopped` has the progress of each user in its task when on_stop was called."""
    done: dict[int, str] = {}
    stopped = []

    class User(BusyUser):
        @locust.task
        def echo(self) -> None:
            self.client.echo(self.next_payload())
            done[self.number] = "task"
            self.client.echo(self.next_payload(), name="second")
            done[self.number] = "end"

        def on_stop(self) -> None:
            stopped.append(done[self.number])

    run = Run(User, target, 10, stop_timeout=10 * UNIT)
    run.wait(lambda: run.count("second") >= 500)
    return run.finish() | {"stopped": stopped}


def plugins(target: str) -> list[dict[str, Any]]:
    """The results with a plugin that limits executions of tasks, and with a plugin that counts waits."""
    begun: list[Any] = []
    waits: list[TaskSet] = []
    results = []
    execute_task: Callable[[DefaultTaskSet, Any], None] = DefaultTaskSet.execute_task
    wait: Callable[[TaskSet], None] = TaskSet.wait

    def limited(self: DefaultTaskSet, task: Any) -> None:
        if len(begun) == 50:
            raise StopUser
        begun.append(task)
        execute_task(self, task)

    def counted(self: TaskSet) -> None:
        waits.append(self)
        wait(self)

    DefaultTaskSet.execute_task = limited  # type: ignore[method-assign]
    run = Run(EchoUser, target, 5)
    run.wait(lambda: len(begun) == 50 and run.runner.user_count == 0)
    results.append(run.finish())
    DefaultTaskSet.execute_task = execute_task  # type: ignore[method-assign]
    TaskSet.wait = counted  # type: ignore[method-assign]
    run = Run(EchoUser, target)
    run.wait(lambda: len(waits) >= 100)
    results.append(run.finish())
    return results


def wait_time_that_waits(target: str) -> dict[str, Any]:
    waiting = []

    class User(EchoUser):
        def wait_time(self) -> float:
            waiting.append(self.number)
            gevent.sleep(60 * UNIT)
            return 0.0

    run = Run(User, target, 3, stop_timeout=30 * UNIT)
    run.wait(lambda: len(waiting) == 3)
    return run.finish()


def min_wait_and_max_wait(target: str) -> dict[str, Any]:
    class User(EchoUser):
        wait_time = None  # type: ignore[assignment]
        min_wait = max_wait = 5  # type: ignore[assignment]  # milliseconds

    sleeps = count_sleeps()
    run = Run(User, target, 2)
    run.wait(lambda: run.count("echo") >= 10)
    return run.finish() | {"seconds": sorted(set(sleeps))}


def task_in_the_same_list(target: str) -> dict[str, Any]:
    def first(user: TcpUser) -> None:
        user.client.echo(user.next_payload(), name="first")
        User.tasks[0] = second

    def second(user: TcpUser) -> None:
        user.client.echo(user.next_payload(), name="second")

    User = task_user(first)
    run = Run(User, target)
    run.wait(lambda: run.count("second") >= 10)
    return run.finish()
