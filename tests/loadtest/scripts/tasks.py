"""Scripts of test_tasks.py."""

from __future__ import annotations

from typing import Any

import gevent
import locust
from locust.exception import RescheduleTask, RescheduleTaskImmediately, StopUser

from tests.support.harness import BusyUser, EchoUser, Run, count_sleeps
from tests.support.timing import UNIT


def busy(target: str) -> dict[str, Any]:
    sleeps = count_sleeps()
    run = Run(EchoUser, target, 20)
    run.wait(lambda: run.count("echo") >= 2000)
    return run.finish() | {"slept": len(sleeps)}


def shares(target: str) -> dict[str, Any]:
    """The numbers of echoes of twenty users."""
    users = {}

    class User(BusyUser):
        done = 0

        @locust.task
        def echo(self) -> None:
            self.client.echo(self.next_payload())
            self.done += 1
            users[self.number] = self.done

    run = Run(User, target, 20)
    run.wait(lambda: run.count("echo") >= 4000)
    return run.finish() | {"shares": sorted(users.values())}


def spinners(target: str) -> dict[str, Any]:
    """Users whose task never waits."""
    spun = []

    class Spinner(BusyUser):
        @locust.task
        def spin(self) -> None:
            spun.append(self.number)

    sleeps = count_sleeps()
    run = Run(Spinner, target, 3)
    run.wait(lambda: len(spun) >= 200)
    return run.finish() | {"slept": len(sleeps)}


def senders(target: str) -> dict[str, Any]:
    """Users whose task sends a few bytes. Such a send does not wait either."""

    class Sender(BusyUser):
        @locust.task
        def send(self) -> None:
            self.client.send(b"x")

    sleeps = count_sleeps()
    run = Run(Sender, target, 3)
    run.wait(lambda: run.count("send") >= 200)
    return run.finish() | {"slept": len(sleeps)}


def other_users(target: str) -> list[int]:
    """The numbers of turns and sleeps of plain Locust users."""
    turns = []

    class Other(locust.User):
        wait_time = locust.constant(0)

        @locust.task
        def turn(self) -> None:
            gevent.sleep(0.001)
            turns.append(self)

    sleeps = count_sleeps()
    run = Run(Other, target, 3)
    run.wait(lambda: len(turns) >= 30)
    run.finish()
    return [len(turns), len(sleeps)]


def wait_of_some_seconds(target: str) -> dict[str, Any]:
    sleeps = count_sleeps()
    EchoUser.wait_time = locust.constant(UNIT / 10)
    run = Run(EchoUser, target, 2)
    run.wait(lambda: run.count("echo") >= 10)
    return run.finish() | {"seconds": sorted(set(sleeps)), "slept": len(sleeps)}


def weights_and_a_nested_task_set(target: str) -> dict[str, Any]:
    seen = []
    stopped = []

    class User(BusyUser):
        def on_stop(self) -> None:
            stopped.append(self.number)

        @locust.task(30)
        def echo(self) -> None:
            self.client.echo(self.next_payload())
            seen.append("echo")

        @locust.task(10)
        def again(self) -> None:
            self.client.echo(self.next_payload(), name="again")
            seen.append("again")
            raise RescheduleTask if len(seen) % 2 else RescheduleTaskImmediately

        @locust.task(10)
        class Inner(locust.TaskSet):
            @locust.task
            def inside(self) -> None:
                assert isinstance(self.user, User)
                self.client.echo(self.user.next_payload(), name="inside")
                seen.append("inside")
                self.interrupt()  # type: ignore[no-untyped-call]

    run = Run(User, target, 10, stop_timeout=10 * UNIT)
    run.wait(lambda: len(seen) >= 2000)
    result = run.finish()
    shares = {name: seen.count(name) / len(seen) for name in set(seen)}
    return result | {"seen": shares, "stopped": len(stopped)}


def leavers(target: str) -> dict[str, Any]:
    """Users whose task raises StopUser."""
    stopped = []

    class Leaver(BusyUser):
        @locust.task
        def leave(self) -> None:
            self.client.echo(self.next_payload())
            raise StopUser

        def on_stop(self) -> None:
            stopped.append(self.number)

    run = Run(Leaver, target, 4)
    run.wait(lambda: len(stopped) == 4)
    return run.finish()
