"""Scripts of test_statistics.py."""

from __future__ import annotations

import csv
import io
import random
from collections.abc import Callable
from typing import Any

from locust import stats
from locust.env import Environment
from locust.event import EventHook
from locust.exception import RescheduleTask, StopUser
from locust.stats import RequestStats, StatsEntry

from geventecho.framing import Exactly
from geventecho.loadtest import Request, TcpUser, account_of, install
from geventecho.loadtest.measure import keep_microseconds, tally
from geventecho.loadtest.measure.precision import bucket
from tests.support.harness import EchoUser, Run, task_user
from tests.support.timing import UNIT


def buckets() -> dict[str, Any]:
    randomly = random.Random(1)
    values = sorted(10 ** randomly.uniform(-2, 7) for _ in range(100_000))
    rounded = [bucket(value) for value in values]
    keys = set(rounded)
    return {
        "worst": max(abs(key / value - 1) for key, value in zip(rounded, values, strict=True)),
        "digits": all(float(f"{key:.3g}") == key for key in keys),
        "idempotent": all(bucket(key) == key for key in keys),
        "rising": rounded == sorted(rounded),
        "floats": all(type(key) is float for key in keys),
        "zero": bucket(0.0),
        "per_decade": sum(1 <= key < 10 for key in keys),
    }


def outputs() -> dict[str, Any]:
    """Four response times and a failure, as the outputs show them."""
    environment = Environment(user_classes=[EchoUser])
    install(environment)
    counted: Any = environment.stats  # Locust's annotations are for whole milliseconds
    for time in (0.1234, 0.2345, 0.3456, 12.345, None):
        counted.log_request("TCP", "echo", time, 10)
    counted.log_error("TCP", "echo", "refused")
    entry = counted.get("echo", "TCP")
    table = io.StringIO()
    stats.StatsCSV(environment, stats.PERCENTILES_TO_REPORT).requests_csv(csv.writer(table))
    rows = list(csv.DictReader(io.StringIO(table.getvalue())))
    shown = entry.to_dict()
    return {
        "csv": [rows[0][name] for name in ("50%", "99%", "100%")],
        "page": [shown["min_response_time"], shown["max_response_time"], shown["response_time_percentile_0.95"]],
    }


def tally_and_locust() -> list[Any]:
    """Whether the tally and Locust counted a row equally, its requests and its cached seconds, for some rows."""
    keep_microseconds()
    randomly = random.Random(1)
    clock = 1_000_000.0
    module: Any = vars(stats)["time"]
    module.time = lambda: clock
    ours, theirs = RequestStats(use_response_times_cache=True), RequestStats(use_response_times_cache=True)
    total: Any = theirs.total  # Locust's annotations are for whole milliseconds
    for _ in range(1000):
        clock += randomly.choice((0, 0.001, 0.3, 1.7))
        name, length = randomly.choice("abc"), randomly.randrange(5000)
        # Odd, so that no time lies on the edge between two rounded times.
        scales = [randomly.choice((0, 10**4, 10**5, 10**7, 10**9)) for _ in range(5)]
        times = [int(scale * randomly.expovariate(1.0)) | 1 for scale in scales]
        successes = tally.Successes()
        successes.add(times[:2], 2 * length, 0)
        successes.add(times[2:], 3 * length, 0)
        successes.count(ours, "TCP", name, clock)
        entry: Any = theirs.entries[name, "TCP"]
        for counted in (total, entry):
            for response_time in times:
                counted.log(response_time / 1e6, length)

    def whole(entry: StatsEntry) -> dict[str, Any]:
        sums = {"total_response_time": round(entry.total_response_time, 6)}  # floats, added in another order
        return entry.serialize() | sums | {"cache": entry.response_times_cache}

    compared = []
    for key in (None, "a", "b", "c"):
        left, right = (
            whole(kind.entries[key, "TCP"] if key else kind.total) for kind in (ours, theirs)
        )  # fmt: skip
        compared.append([left == right, left["num_requests"], len(left["cache"])])
    return compared


def listener_comes_and_goes(target: str) -> dict[str, Any]:
    counts = []
    keep_microseconds()
    run = Run(EchoUser, target, 3, listen=False)
    request = run.environment.events.request

    def done() -> int:
        return account_of(run.environment).ok

    def until(number: int) -> None:
        run.wait(lambda: done() >= number)
        counts.append([done(), run.rows()["echo"][0] + run.rows()["connect"][0], len(run.events)])

    until(200)
    listened_from = done()
    request.add_listener(run.on_request)
    until(listened_from + 200)
    request.remove_listener(run.on_request)
    until(done() + 200)
    total = run.environment.stats.total
    return run.finish() | {
        "counts": counts,
        "listened_from": listened_from,
        "event": {name: type(value).__name__ for name, value in run.events[0].items()},
        "total": [total.num_requests, sum(total.response_times.values()), total.total_content_length],
    }


def reset_and_clear(target: str) -> list[list[int]]:
    """The requests that Locust has after it was told to forget all, and its surplus over the later operations."""
    keep_microseconds()
    run = Run(EchoUser, target, 3, listen=False)
    counted = run.environment.stats
    account = account_of(run.environment)
    found = []

    def go_on() -> int:
        """Wait for 50 operations; returns the number before them."""
        before = account.ok
        run.wait(lambda: account.ok >= before + 50)
        return before

    for forget in ("reset_all", "clear_all"):
        go_on()
        getattr(counted, forget)()
        found.append([counted.total.num_requests, sum(row.num_requests for row in counted.entries.values())])
        before = go_on()
        found.append([counted.total.num_requests - (account.ok - before), len(counted.errors)])
    run.finish()
    return found


def replaced_fire(target: str) -> list[list[int]]:
    """Operations by the account, by Locust and by events: `fire` is replaced, or the event has another listener."""
    fired: list[str] = []
    keep_microseconds()
    results = []
    original: Callable[..., None] = EventHook.fire

    def fire(self: EventHook, **event: Any) -> None:
        fired.append(event.get("name", ""))
        original(self, **event)

    class Own(EchoUser):
        def __init__(self, environment: Environment) -> None:
            event = environment.events.request
            event.fire = lambda **arguments: fire(event, **arguments)  # type: ignore[method-assign]
            super().__init__(environment)

    class Twice(EchoUser):
        def __init__(self, environment: Environment) -> None:
            environment.events.request.add_listener(lambda name, **_: fired.append(name))
            super().__init__(environment)

    def run_users(user_class: type[TcpUser]) -> None:
        fired.clear()
        run = Run(user_class, target, listen=False)
        run.wait(lambda: fired.count("echo") >= 10)
        result = run.finish()
        counted = sum(requests for requests, _ in result["rows"].values())
        results.append([result["account"]["ok"], counted, len([name for name in fired if name])])

    run_users(Own)
    run_users(Twice)
    EventHook.fire = fire  # type: ignore[method-assign]
    run_users(EchoUser)
    return results


def receive(user: TcpUser) -> None:
    user.client.receive(Exactly(1), timeout=UNIT / 50)


def pipeline(user: TcpUser) -> None:
    user.client.pipeline([Request(b"abcd", Exactly(4)) for _ in range(10)], depth=4)


def wrong_pipeline(user: TcpUser) -> None:
    user.client.pipeline([Request(b"abcd", Exactly(4), expect=b"zzzz") for _ in range(10)], depth=4)


def listener_raises(target: str) -> list[dict[str, Any]]:
    def result_of(task: Callable[[TcpUser], None], name: str, raised: type[Exception]) -> dict[str, Any]:
        def listen(**event: Any) -> None:
            if event["name"] == name:
                raise raised

        user_class = task_user(task)
        user_class.backoff_base = UNIT / 100
        run = Run(user_class, target)
        run.environment.events.request.add_listener(listen)
        run.wait(lambda: run.count("connect") >= 4 or (run.count("request") and not run.runner.user_count))
        return run.finish()

    return [
        result_of(receive, "receive", RescheduleTask),
        result_of(pipeline, "request", StopUser),
        result_of(pipeline, "request", RescheduleTask),
        result_of(wrong_pipeline, "request", RescheduleTask),
    ]
