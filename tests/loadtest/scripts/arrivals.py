"""Scripts of test_arrivals.py."""

from __future__ import annotations

import logging
import math
import os
import random
import signal
import time
from itertools import chain, pairwise
from typing import Any

import gevent
import locust
from gevent import get_hub, monkey
from locust import SequentialTaskSet, TaskSet
from locust.exception import InterruptTaskSet, RescheduleTask
from locust.user.task import DefaultTaskSet

from geventecho.errors import ConfigError
from geventecho.framing import Exactly
from geventecho.loadtest import TcpUser, account_of
from geventecho.loadtest.measure import Arrivals
from geventecho.loadtest.run.accounts import Accounts
from geventecho.loadtest.settings import CHECKS
from geventecho.loadtest.users import planner_of
from tests.support.harness import EchoUser, Run
from tests.support.timing import UNIT

ACCOUNT = ("planned", "sent", "late", "dropped")
hold_hub = monkey.get_original("time", "sleep")


def plan(stages: list[tuple[float, float | None]], kind: str, workers: int, most: int = 1_000_000) -> list[list[float]]:
    """The first `most` instants of each worker. A stage of None seconds has no end."""
    arrivals = Arrivals([(rate, math.inf if seconds is None else seconds) for rate, seconds in stages], kind, 7)
    return [
        [instant for instant, _ in zip(arrivals.instants(worker, workers), range(most), strict=False)]
        for worker in range(workers)
    ]


def exponential_distance(rate: float, workers: int, number: int) -> float:
    """The largest difference (KS) of the distances of Poisson arrivals from the exponential distribution."""
    instants = sorted(chain.from_iterable(plan([(rate, number / rate)], "poisson", workers)))
    distances = sorted(after - before for before, after in pairwise(instants))
    expected = [1 - math.exp(-rate * distance) for distance in distances]
    return max(
        max(abs(share - place / len(distances)), abs(share - (place + 1) / len(distances)))
        for place, share in enumerate(expected)
    )


class Waiting(TcpUser):
    """A user whose wait time allows one task a minute."""

    abstract = True
    wait_time = locust.constant(60)


def finish(run: Run) -> dict[str, Any]:
    """Stop the run; returns its result, with the numbers of the plan."""
    result = run.finish()
    numbers = account_of(run.environment).numbers()
    return result | {name: numbers[name] for name in ACCOUNT}


def wait_times(target: str) -> dict[str, Any]:
    """Tasks of a class with its own wait time, of nested task sets of each kind, and a task that fails."""
    done: list[str] = []

    class Sequence(SequentialTaskSet):
        wait_time = locust.constant(60)

        @locust.task
        def first(self) -> None:
            done.append("first")
            self.client.echo(b"first")

        @locust.task
        def second(self) -> None:
            done.append("second")
            raise InterruptTaskSet

    class Nested(TaskSet):
        tasks = [Sequence]  # noqa: RUF012

        @locust.task
        def leave(self) -> None:
            done.append("leave")
            raise InterruptTaskSet

    class User(Waiting):
        tasks = [Nested]  # noqa: RUF012

        @locust.task
        def fail(self) -> None:
            done.append("fail")
            raise RescheduleTask

    run = Run(User, target, 3, arrival_rate="200")
    run.wait(lambda: len(done) >= 100 and len(set(done)) == 4)
    result = finish(run)
    return result | {"done": len(done), "sequence": [name for name in done if name in ("first", "second")]}


def no_task_begins(target: str, why: str) -> dict[str, Any]:
    """Users that begin no task: the `on_start` of their task set ends the set each time, or they have no task."""
    entered: list[int] = []

    class Nested(TaskSet):
        def on_start(self) -> None:
            entered.append(1)
            if why == "error":
                raise KeyError("on_start")
            if why == "failure":
                self.client.request(b"x", Exactly(1), name="start", expect=b"y")
            raise InterruptTaskSet(reschedule=why == "at once")

        @locust.task
        def never(self) -> None:
            """Locust leaves out a task set that has no task."""

    class User(TcpUser):
        wait_time = locust.constant(UNIT)
        tasks = [] if why == "no task" else [Nested]

    logging.getLogger("locust.user.task").disabled = True  # it prints tracebacks
    begun = time.monotonic()
    run = Run(User, target, 2, arrival_rate="50")
    run.wait(lambda: len(entered) >= 10 or (why == "no task" and len(run.exceptions) >= 4))
    result = finish(run) | {"entered": len(entered)}
    return result | {"seconds": time.monotonic() - begun}


def slow_server(target: str, users: int, rate: str, lateness: str) -> dict[str, Any]:
    """Planned tasks until the end of the last stage. The last stage takes a second."""
    run = Run(EchoUser, target, users, arrival_rate=f"{rate}:1s", max_lateness=lateness, stop_timeout=10 * UNIT)
    vars(run.environment.parsed_options)["headless"] = False
    run.wait(lambda: account_of(run.environment).waiting >= 3 or run.runner.state == "stopped", 30)
    seen = Accounts(run.environment, run.runner).sums()
    run.wait(lambda: run.runner.state == "stopped", 30)
    times = [event["response_time"] for event in run.events if event["name"] == "echo" and not event["exception"]]
    waiting = account_of(run.environment).waiting
    return finish(run) | {"times": sorted(times), "seen": seen, "waiting": waiting}


def beginnings(target: str) -> dict[str, Any]:
    """The fastest time of each operation in a task that begins late: the hub is held after the task's instant."""
    seen: dict[str, list[float]] = {}

    class User(Waiting):
        @locust.task
        def several(self) -> None:
            hold_hub(0.05)
            with self.client.transaction("outer"):
                self.client.request(b"x", Exactly(1), name="first")
                self.client.request(b"x", Exactly(1), name="second")
            with self.client.transaction("later"):
                pass
            with self.client.request(b"x", Exactly(1), name="caught", catch_response=True):
                pass
            self.client.close()

    run = Run(User, target, 1, arrival_rate="4")
    run.wait(lambda: run.count("caught") >= 3)
    for event in run.events:
        seen.setdefault(event["name"], []).append(event["response_time"])
    del seen["connect"][0]  # the connect of `on_start`: it has no instant
    return finish(run) | {"fastest": {name: min(times) for name, times in seen.items()}}


def goodbye(target: str) -> dict[str, Any]:
    """An operation after a user's last task, which did no operation."""
    done: list[float] = []

    class User(Waiting):
        @locust.task
        def nothing(self) -> None:
            done.append(time.monotonic())

        def on_stop(self) -> None:
            self.client.request(b"x", Exactly(1), name="bye")

    run = Run(User, target, 1, arrival_rate="0.5")
    run.wait(lambda: done)
    gevent.sleep(5 * UNIT)
    result = finish(run)
    (bye,) = (event["response_time"] for event in run.events if event["name"] == "bye")
    return result | {"bye": bye, "since_task": 1000 * (time.monotonic() - done[0])}


def idle_longest(target: str) -> dict[str, Any]:
    """The order in which users begin tasks."""
    order: list[int] = []

    class User(Waiting):
        @locust.task
        def note(self) -> None:
            order.append(self.number)
            gevent.sleep(random.random() * UNIT / 1000)

    run = Run(User, target, 5, arrival_rate="100")
    run.wait(lambda: len(order) >= 50)
    return finish(run) | {"order": order[5:45]}


def due_before_the_hub(target: str) -> dict[str, Any]:
    """After a task has held the hub: the order of an instant that has fallen due and of a callback of the hub."""
    order: list[str] = []

    class User(Waiting):
        @locust.task
        def note(self) -> None:
            order.append("task")
            if len(order) == 10:  # both users wait by now
                get_hub().loop.run_callback(order.append, "hub")
                hold_hub(2 * UNIT)

    run = Run(User, target, 2, arrival_rate=str(1 / UNIT))
    run.wait(lambda: len(order) >= 12)
    return finish(run) | {"order": order[9:11]}


def changed_plan(target: str, *, stops: bool) -> dict[str, Any]:
    """Instants fall due while the hub is held. Then the plan changes or stops."""

    class User(Waiting):
        @locust.task
        def nothing(self) -> None:
            pass

    run = Run(User, target, 3, arrival_rate="1000")
    account = account_of(run.environment)
    run.wait(lambda: account.sent >= 20)
    hold_hub(0.05)
    planner = planner_of(run.environment)
    if stops:
        planner.stop()
    else:
        planner.follow(time.perf_counter(), iter(()), math.inf)
    waiting = account.dropped
    run.wait(lambda: stops or account.dropped == 0)
    return finish(run) | {"waiting": waiting}


def never_waits(target: str) -> dict[str, Any]:
    """A task that never waits, at a rate above the capacity of the user."""
    done: list[int] = []
    ticks: set[int] = set()

    class User(Waiting):
        @locust.task
        def hold(self) -> None:
            hold_hub(0.01)
            done.append(self.number)

    run = Run(User, target, 1, arrival_rate="1000", max_lateness="0.05")

    def tick() -> None:
        while True:
            gevent.sleep(0)
            ticks.add(len(done))

    ticker = gevent.spawn(tick)
    run.wait(lambda: len(done) >= 20)
    ticker.kill()
    return finish(run) | {"done": len(done), "ticks": len(ticks)}


def stops(target: str, stop_timeout: float) -> dict[str, Any]:
    """A user stops the test in the middle of the plan."""

    stopping: list[gevent.Greenlet] = []

    class User(EchoUser):
        @locust.task
        def leave(self) -> None:
            if run.count("echo") >= 50 and not stopping:
                planner_of(run.environment).stop()  # at once, as in a listener that this user's task calls
                stopping.append(gevent.spawn(run.runner.stop))

    run = Run(User, target, 10, arrival_rate="300", stop_timeout=stop_timeout)
    run.wait(lambda: run.runner.state == "stopped")
    return finish(run)


def two_tests(target: str) -> list[dict[str, Any]]:
    """Three tests in one environment: the first and the last have a plan, the second has none."""
    run = Run(EchoUser, target, 3, arrival_rate="200")
    results = []
    for rate in ("200", "", "200"):
        vars(run.environment.parsed_options)["tcp_arrival_rate"] = rate
        if run.runner.state == "stopped":
            run.runner.start(3, spawn_rate=3)
        run.events.clear()
        run.wait(lambda: run.count("echo") >= 50)
        run.runner.stop()
        numbers = account_of(run.environment).numbers()
        results.append({name: numbers[name] for name in (*ACCOUNT, "ok")})
    return results


def stall(target: str, pid: int, seconds_in_all: float, stalled: float, users: int, **plan: Any) -> dict[str, Any]:
    """A server process is stopped for `stalled` seconds in the middle of a test."""
    seconds = seconds_in_all
    run = Run(EchoUser, target, users, request_timeout=60.0, stop_timeout=10 * UNIT, **plan)
    gevent.sleep(seconds / 3)
    os.kill(pid, signal.SIGSTOP)
    stopped = time.monotonic()
    gevent.sleep(stalled)
    os.kill(pid, signal.SIGCONT)
    stopped = time.monotonic() - stopped
    gevent.sleep(seconds * 2 / 3 - stalled)
    result = finish(run)
    times = sorted(event["response_time"] for event in run.events if event["name"] == "echo")
    return result | {"p80": times[len(times) * 8 // 10], "p90": times[len(times) * 9 // 10], "stopped": stopped}


def replaced_loop() -> list[str]:
    """The messages about a rate, before and after a plugin has replaced a step of Locust's loop."""
    messages = []
    for _ in range(2):
        try:
            for check in CHECKS:
                check({"tcp_arrival_rate": "10"})
        except ConfigError as error:
            messages.append(str(error))
        DefaultTaskSet.wait = lambda self: None  # type: ignore[method-assign]
    return messages
