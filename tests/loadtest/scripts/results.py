"""Scripts of test_results.py."""

from __future__ import annotations

import importlib
import os
from argparse import Namespace
from typing import Any

import gevent
import locust
from locust import LoadTestShape, TaskSet
from locust.env import Environment
from locust.runners import LocalRunner

from geventecho.errors import ConfigError
from geventecho.loadtest import Failed, TcpUser, install, result_of
from geventecho.loadtest.measure import latencies_of, seconds_now
from geventecho.loadtest.run import description, results
from geventecho.loadtest.run.accounts import Accounts
from geventecho.loadtest.run.attached import attached
from geventecho.loadtest.run.result_files import check_files
from geventecho.options import TYPED
from geventecho.results import Block, Result, as_json, timeline
from tests.support.harness import EchoUser
from tests.support.timing import UNIT


class Good(EchoUser):
    """Its tasks succeed."""


class Bad(TcpUser):
    """Its tasks fail, and its operations do not."""

    @locust.task
    def fail(self) -> None:
        self.client.echo(self.next_payload())
        raise Failed(ValueError("no"))


def files_error(options: dict[str, str]) -> str:
    """The error about options for files."""
    try:
        check_files(options)
    except ConfigError as error:
        return str(error)
    return ""


def typed(command: str) -> list[Any]:
    """The words that are read from the environment, and whether their variable is still in it."""
    os.environ[TYPED] = command
    return [importlib.reload(description).TYPED_WORDS, TYPED in os.environ]


def start(target: str, *user_classes: type[TcpUser], users: int, **options: Any) -> tuple[Environment, LocalRunner]:
    """Start a test whose users complete their last tasks."""
    environment = Environment(
        user_classes=list(user_classes),
        host=target,
        stop_timeout=10 * UNIT,
        reset_stats=options.pop("reset_stats", False),
        shape_class=options.pop("shape", None),
        parsed_options=Namespace(headless=False, **{f"tcp_{name}": value for name, value in options.items()}),
    )
    runner = environment.create_local_runner()
    install(environment)
    if environment.shape_class is None:
        runner.start(users, spawn_rate=users)
    else:
        runner.start_shape()
    return environment, runner


def wait(seconds: float, runner: LocalRunner) -> None:
    """Let the users run, then stop them."""
    gevent.sleep(seconds)
    runner.stop()


def two_classes(target: str) -> dict[str, Any]:
    """A user of each class, at a higher arrival rate than they can achieve."""
    environment, runner = start(target, Good, Bad, users=2, arrival_rate="200", max_lateness="0.1")
    wait(1.5, runner)
    result = result_of(environment)
    rows = {row["name"]: row for row in as_json(result)["rows"] if row["type"] == "TASK"}
    return {
        "planned": result.account.planned,
        "sent": result.account.sent,
        "dropped": result.account.dropped,
        "tasks": {name: [row["ok"], row["failed"], row["dropped"]] for name, row in rows.items()},
        "types": sorted({method for _, method in environment.stats.entries}),
        "offered": rows["Good"]["offered_us"]["p90"]["value"],
    }


class Nested(TaskSet):
    """Left after one task."""

    @locust.task
    def leave(self) -> None:
        user: Any = self.user
        user.client.echo(user.next_payload())
        self.interrupt()  # type: ignore[no-untyped-call]


class Empty(TaskSet):
    """Left before its first task."""

    def on_start(self) -> None:
        self.interrupt()  # type: ignore[no-untyped-call]

    @locust.task
    def never(self) -> None:
        raise AssertionError


def nested(target: str) -> dict[str, int]:
    """Tasks that are task sets."""

    class User(TcpUser):
        tasks = [Nested, Empty]  # noqa: RUF012

    environment, runner = start(target, User, users=3, arrival_rate="100")
    wait(1.0, runner)
    result = result_of(environment)
    (row,) = [row for row in result.rows if row.type == "TASK"]
    return {"sent": result.account.sent, "ok": row.ok, "failed": row.failed}


def shape(target: str) -> list[list[int | None]]:
    """Users and good operations of each stage. A second of unchanged load is a stage here."""

    class Steps(LoadTestShape):
        def tick(self) -> tuple[int, float] | None:
            passed = self.get_run_time()  # type: ignore[no-untyped-call]
            return None if passed > 5 else (2 if passed < 2.5 else 4, 10.0)

    vars(timeline)["SHORTEST"] = 1.5
    environment, runner = start(target, EchoUser, users=0, shape=Steps())  # type: ignore[no-untyped-call]
    assert runner.shape_greenlet is not None
    runner.shape_greenlet.join()
    return [[stage.users, sum(row.ok for row in stage.rows)] for stage in result_of(environment).stages]


def reset_stats(target: str) -> dict[str, list[int]]:
    """The good operations in the warm-up and in the measured part, with --reset-stats."""
    environment, runner = start(target, EchoUser, users=3, reset_stats=True)
    wait(2.5, runner)
    result = result_of(environment)
    assert result.warm_up is not None
    parts = (result.warm_up.rows, result.rows)
    return {name: [sum(row.ok for row in rows if row.name == name) for rows in parts] for name in ("connect", "echo")}


def clocks(target: str) -> dict[str, int]:
    """The measured operations of workers whose clocks are a day and 3 s behind; both report after the warm-up."""
    environment, runner = start(target, EchoUser, users=1, warm_up="0.5")
    gevent.sleep(1.1)
    ours = attached(environment, results.Results)
    assert ours is not None
    for worker, behind in (("day", 86_400), ("moment", 3)):
        clock = seconds_now() - behind
        blocks = [["TCP", "far", Block(int(clock), ok=1).pack()]]
        for shown in (clock, clock + behind):  # only the first report sets the difference of the clocks
            data = {results.BLOCKS: blocks, results.CLOCK: shown}
            ours.on_worker_report(worker, data)
    runner.stop()
    return {worker.id: worker.ok for worker in result_of(environment).workers if worker.id != results.LOCAL}


def two_reports() -> list[tuple[str, int]]:
    """Make a worker's last report while it packs its first; returns the name and the rows of each, by their ends."""
    environment = Environment(user_classes=[EchoUser])
    runner: Any = environment.create_local_runner()
    worker = results.WorkerResults(environment, runner)
    for number in range(3):
        latencies_of(environment).record(("TASK", f"{number}"), 1000, ok=True)
    ready = []

    def report(name: str) -> None:
        data: dict[str, Any] = {}
        worker.on_report_to_master(data)
        ready.append((name, len(data[results.BLOCKS])))

    gevent.joinall([gevent.spawn(report, "first"), gevent.spawn(report, "last")])
    return ready


def errors_without_a_result() -> list[str]:
    """The errors where there is no result."""
    environment = Environment(user_classes=[EchoUser], host="127.0.0.1:1", parsed_options=Namespace())
    environment.create_local_runner()
    messages = [_message(environment)]
    install(environment)
    return [*messages, _message(environment)]


def _message(environment: Environment) -> str:
    try:
        result_of(environment)
    except ConfigError as error:
        return str(error)
    return ""


def while_running(target: str) -> list[dict[str, float]]:
    """The result while a test runs, and the result after its end."""
    environment, runner = start(target, EchoUser, users=3, think_time="0.01")
    gevent.sleep(0.5)
    during = result_of(environment)
    wait(0.5, runner)
    return [_short(during), _short(result_of(environment))]


def _short(result: Result) -> dict[str, float]:
    return {"ok": result.account.ok, "duration_s": result.duration_s}


def sums_without(lost: str) -> dict[str, int]:
    """The sums of two workers, each with numbers of its own, when `lost` is lost."""
    environment = Environment()
    accounts = Accounts(environment, environment.create_local_runner())
    for worker, number in (("a", 1), ("b", 10)):
        names = ("open", "opening", "planned", "sent", "dropped", "waiting")
        accounts.reports[worker] = dict(
            zip(names, (number, number, 9 * number, 4 * number, 5 * number, number), strict=True)
        )
    found = accounts.sums([lost])
    return {name: found[name] for name in (*names, "ok")}
