"""Scripts of test_latencies.py."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from time import perf_counter_ns
from typing import Any

import gevent
from gevent import monkey
from locust.env import Environment
from locust.exception import StopUser

from geventecho.framing import Exactly, NoReply, Until
from geventecho.histogram import Histogram
from geventecho.loadtest import Failed, Request, TcpUser
from geventecho.loadtest.measure import account_of, latencies_of, second_of
from geventecho.loadtest.measure import latencies as measured
from geventecho.net import CLOCK
from geventecho.results import TIMES, Block, Record
from tests.support.harness import EchoUser, Run, task_user
from tests.support.timing import UNIT

SECOND = 1_000_000_000
block_hub = monkey.get_original("time", "sleep")
"""Sleeps without gevent: the hub is blocked."""


def shown(histograms: dict[str, Histogram]) -> dict[str, Any]:
    """Of each time the count, and the shortest, the mean and the longest in microseconds."""
    return {
        name: [times.count, *(round((value or 0.0) * 1e6, 3) for value in (times.min, times.mean, times.max))]
        for name, times in histograms.items()
    }


def rows_of(environment: Environment) -> dict[str, Any]:
    """The measurements by row."""
    rows: dict[str, Block] = {}
    for (_, name), block in measured.Latencies.take(latencies_of(environment)):
        if name in rows:
            rows[name].merge(block)
        else:
            rows[name] = block
    numbers = ("ok", "failed", "dropped", "bytes_sent", "bytes_received", "clock_steps")
    return {
        name: {number: getattr(block, number) for number in numbers}
        | {"times": shown(block.times), "failed_times": shown(block.failed_times)}
        for name, block in rows.items()
    }


def measure(run: Run) -> dict[str, Any]:
    """End a run; returns its result, with the measurements."""
    environment = run.environment
    result = run.finish()
    by_name = {
        name: [event["response_time"] for event in run.events if event["name"] == name and not event["exception"]]
        for name in {event["name"] for event in run.events}
    }
    longest = {name: max(times) * 1000 for name, times in by_name.items() if times}
    return result | {"measured": rows_of(environment), "longest": longest}


def measure_task(
    act: Callable[[Any], object], target: str, until: Callable[[Run], object], users: int = 1, **options: Any
) -> dict[str, Any]:
    """Run users with this one task until `until` is true for their `Run`; returns as `measure` does."""
    run = Run(task_user(act), target, users, request_timeout=10 * UNIT, **options)
    run.wait(lambda: until(run), 20.0)
    return measure(run)


def echoes(target: str) -> dict[str, Any]:
    run = Run(EchoUser, target, 3, payload_size=1000)
    run.wait(lambda: run.count("echo") >= 600)
    return measure(run)


def failures(target: str) -> dict[str, Any]:
    """Failures of many kinds. Each user completes its last task: otherwise a reply under way would not be received."""

    def act(user: TcpUser) -> None:
        try:
            user.client.request(b"1234567890", Exactly(10), name="half")
        except Failed:
            pass
        try:
            user.client.request(b"all", Exactly(3), name="all", expect=b"none")
        except Failed:
            pass
        user.client.pipeline([Request(b"all", Exactly(3), name="one")] * 3, depth=2)
        with user.client.request(b"all", Exactly(3), name="caught", catch_response=True) as caught:
            user.client.request(b"inner", Exactly(5), name="inner")
            caught.failure("not liked")
        user.client.pipeline(
            [Request(b"all", Exactly(3), name="last"), Request(b"1234567890", Exactly(10), name="cut")], depth=2
        )

    return measure_task(act, target, lambda run: run.count("cut") >= 20, users=2, stop_timeout=10.0)


def aborted(target: str) -> dict[str, Any]:
    """A user ends within a block of catch_response, after its reply."""

    def act(user: TcpUser) -> None:
        with user.client.request(b"12345", Exactly(5), name="left", catch_response=True):
            raise StopUser

    return measure_task(act, target, lambda run: account_of(run.environment).aborted)


def without_a_send(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        with user.client.transaction("whole"):
            user.client.send(b"2", name="subscribe")
            gevent.sleep(0.2 * UNIT)  # both events arrive during this sleep
            user.client.receive(Until(b"\n"), name="event")
            user.client.receive(Until(b"\n"), name="event")
            user.client.request(b"1", NoReply(), name="unanswered")
            user.client.receive(Until(b"\n"), name="waited")

    return measure_task(act, target, lambda run: run.count("whole") >= 5)


def pieces(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        user.client.request(b"x", Exactly(8), name="split")

    return measure_task(act, target, lambda run: run.count("split") >= 5)


def pipelined(target: str) -> dict[str, Any]:
    """The second of two requests is sent later than the first. The server answers both in one piece after it."""

    def act(user: TcpUser) -> None:
        def requests() -> Any:
            yield Request(b"a", Exactly(1), name="early")
            gevent.sleep(UNIT)
            yield Request(b"b", Exactly(1), name="late")

        user.client.pipeline(requests(), depth=2)

    return measure_task(act, target, lambda run: run.count("late") >= 3)


def arrivals_while_blocked(target: str) -> dict[str, Any]:
    """The hub is blocked while replies wait to be read."""

    def act(user: TcpUser) -> None:
        gevent.get_hub().loop.run_callback(block_hub, 0.5 * UNIT)
        user.client.request(b"x", Exactly(1))

    return measure_task(act, target, lambda run: run.count("request") >= 10)


def planned(target: str) -> dict[str, Any]:
    """Tasks at planned instants, while the hub is blocked repeatedly."""
    run = Run(EchoUser, target, 20, arrival_rate=200.0, arrivals="even", arrival_seed=1, max_lateness=1000.0)
    vars(latencies_of(run.environment))["take"] = lambda: ()  # otherwise the run's result takes the measurements
    end = time.monotonic() + 10 * UNIT
    while time.monotonic() < end:
        gevent.sleep(UNIT)
        block_hub(0.5 * UNIT)
    return measure(run)


def stepped(target: str) -> dict[str, Any]:
    """The clock of the kernel's stamps is stepped twice."""
    shift = 0

    def wall() -> int:
        return time.time_ns() + shift

    CLOCK.wall = wall
    run = Run(EchoUser, target, 2)

    def go_on(events: int) -> None:
        wanted = len(run.events) + events
        run.wait(lambda: len(run.events) >= wanted)

    for step in (3600 * SECOND, 0):
        go_on(50)
        shift = step
        go_on(50)
    return measure(run) | {"steps": CLOCK.steps}


def seconds() -> list[Any]:
    """The blocks of samples before and after the end of a second, which are counted in bulk."""
    latencies = latencies_of(Environment(user_classes=[EchoUser]))
    row = latencies.rows["TCP", "echo"]
    now = perf_counter_ns()
    second = second_of(now)
    begins = now - (now + CLOCK.offset) % SECOND
    for arrived in (begins - 2, begins - 1, begins, begins + 1, begins + SECOND, begins + 5 * SECOND):
        row.add((arrived - 9, arrived - 5, arrived, arrived, arrived + 3, 1, 2))
    row.add_failed((begins - 10, 0, begins - 1, begins - 1, 0, 1, 2))
    row.add_without_arrival((begins - 9, begins - 5, 0, 0, begins + 5 * SECOND, 1, 2))
    waiting = latencies.take()
    latencies.rows["TCP", "echo"].add((begins - 9, begins - 5, begins, begins, 0, 1, 2))  # its second has been taken
    return [
        [(block.start - second, block.ok, block.failed, block.bytes_sent) for _, block in taken]
        for taken in (waiting, latencies.take(), latencies.take())
    ]


def stock_seconds() -> list[int]:
    """The operations in each second of Locust's statistics, when operations of two seconds are counted in bulk."""
    environment = Environment(user_classes=[EchoUser])
    latencies = latencies_of(environment)
    now = perf_counter_ns()
    begins = now - (now + CLOCK.offset) % SECOND
    for arrived in (begins - 2000, begins - 1000, begins):  # floats of the statistics would lose smaller distances
        latencies.rows["TCP", "echo"].add((arrived - 9, arrived - 5, arrived, arrived, 0, 1, 2), 7)
    latencies.count()
    return [number for _, number in sorted(environment.stats.total.num_reqs_per_sec.items())]


def times_between(begun: int, sent: int, first: int, arrived: int, read: int) -> dict[str, int]:
    """The times of an operation with these instants, by name, as `Sample` describes them."""
    times = {"response": arrived - begun}
    if sent:
        times |= {"service": arrived - sent, "generator_delay": sent - begun}
        if first != arrived:
            times["first_byte"] = first - sent
    if read:
        times["read_delay"] = read - arrived
    return times


def bulk() -> dict[str, Any]:
    """Whether random operations have the same figures when they are counted in bulk and one by one."""
    environment = Environment(user_classes=[EchoUser])
    latencies = latencies_of(environment)
    draw = random.Random(3).randrange
    marked: list[float] = []
    expected = Block(0, ok=0)
    count = 5 * measured.COUNTED_AT_ONCE + 17
    at = perf_counter_ns()
    for _ in range(count):
        begun = at - draw(SECOND)
        sent = draw(2) and begun + draw(10**6)
        first = (sent or begun) + draw(10**8)
        arrived = first + draw(2) * draw(1, 10**7)
        read = draw(2) and arrived + draw(10**6)
        mark = draw(2) and 7
        if mark:
            marked.append((arrived - begun) / 1e6)
        latencies.rows["TCP", "echo"].add((begun, sent, first, arrived, read, 10, 20), mark or measured.GOOD)
        for name, time_ in times_between(begun, sent, first, arrived, read).items():
            expected.times[name].count_all([time_])
    found = Block(0)
    for _, block in latencies.take():
        block.start = 0
        found.merge(block)
    latencies.count()
    total: Any = environment.stats.total
    return {
        "ok": found.ok == count,
        "locust": [
            total.num_requests == len(marked),
            total.total_content_length == 7 * len(marked),
            total.min_response_time == min(marked),
            total.max_response_time == max(marked),
            abs(total.total_response_time / sum(marked) - 1) < 1e-9,
            sum(total.response_times.values()) == len(marked),
        ],
        "bytes": [found.bytes_sent == 10 * count, found.bytes_received == 20 * count],
        "times": [found.times[name] == expected.times[name] for name in TIMES],
        "failed": sum(times.count for times in found.failed_times.values()),
    }


def blocks_not_taken() -> dict[str, Any]:
    """The numbers of blocks and of operations of a row whose blocks are not taken for 2,000 s."""
    latencies = latencies_of(Environment(user_classes=[EchoUser]))
    begun = perf_counter_ns()
    for second in range(2000):
        now = begun + second * SECOND
        for _ in range(measured.COUNTED_AT_ONCE):
            latencies.rows["TCP", "echo"].add((now, now, now + 1000, now + 1000, 0, 1, 1))
    blocks = [block for _, block in latencies.take()]
    record = Record()
    for block in blocks:
        record.add(("TCP", "echo"), block)
    return {"blocks": len(blocks), "ok": sum(block.ok for block in record.rows["TCP", "echo"])}


def task_rows() -> dict[str, Any]:
    """The rows of a test with tasks and without operations, and the rows after a new test has begun."""
    environment = Environment(user_classes=[EchoUser])
    latencies = latencies_of(environment)
    latencies.record(("TASK", "User"), 5_000, ok=True)
    latencies.record(("TASK", "User"), 7_000, ok=False)
    measured_rows = rows_of(environment)
    latencies.record(("TASK", "User"), 5_000, ok=True)
    environment.events.test_start.fire(environment=environment)
    return {"rows": measured_rows, "after": rows_of(environment)}


def many_rows() -> dict[str, Any]:
    """The CPU seconds in which `take` forgets 200 rows, and in which its iterator counts them."""
    latencies = latencies_of(Environment(user_classes=[EchoUser]))
    now = perf_counter_ns()
    for number in range(200):
        for _ in range(100):
            latencies.rows["TCP", f"row {number}"].add((now, now, now + 1000, now + 1000, now + 2000, 1, 1))
    begun = time.process_time()
    blocks = latencies.take()
    taken = time.process_time()
    count = sum(block.ok for _, block in blocks)
    return {"take": taken - begun, "count": time.process_time() - taken, "ok": count}
