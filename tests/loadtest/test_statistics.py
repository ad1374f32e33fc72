"""What the load test counts with: three digits, microseconds in every output, a tally that costs little."""

from __future__ import annotations

from pathlib import Path

from tests.support import peers
from tests.support.locust_script import assert_clean, run_users
from tests.support.timing import UNIT


def test_buckets_keep_three_digits(tmp_path: Path) -> None:
    text = """
import math, random
from geventecho.loadtest.measure.precision import bucket
from locust import stats
worst, values = 0.0, [10 ** random.uniform(-2, 7) for _ in range(100_000)]
for value in values:
    worst = max(worst, abs(bucket(value) / value - 1))
keys = {bucket(value) for value in values}
answer({
    "worst": worst,
    "digits": all(float(f"{key:.3g}") == key for key in keys),
    "idempotent": all(bucket(key) == key for key in keys),
    "rising": all(bucket(a) <= bucket(b) for a, b in zip(sorted(values), sorted(values)[1:])),
    "floats": all(type(key) is float for key in keys),
    "zero": bucket(0.0),
    "installed": stats.bucket_response_time is bucket,
    "per_decade": sum(1 <= key < 10 for key in keys),
})
"""
    result = run_users(text, "", tmp_path)
    assert result.pop("worst") <= 0.005001
    assert result.pop("per_decade") <= 900
    assert result == {
        "digits": True,
        "idempotent": True,
        "rising": True,
        "floats": True,
        "zero": 0.0,
        "installed": True,
    }


def test_every_output_shows_microseconds(tmp_path: Path) -> None:
    text = """
import csv, io, os
from locust import stats
from locust.env import Environment
import geventecho.loadtest
environment = Environment()
for time in (0.1234, 0.2345, 0.3456, 12.345):
    environment.stats.log_request("TCP", "echo", time, 10)
environment.stats.log_request("TCP", "echo", None, 10)
environment.stats.log_error("TCP", "echo", "refused")
entry = environment.stats.get("echo", "TCP")
table = io.StringIO()
stats.StatsCSV(environment, stats.PERCENTILES_TO_REPORT).requests_csv(csv.writer(table))
rows = list(csv.DictReader(io.StringIO(table.getvalue())))
shown = entry.to_dict()
head, _, row, *_ = stats.get_stats_summary(environment.stats)
answer({
    "printed": entry.to_string(current=False).split()[:9],
    "percentiles": entry.percentile().split(),
    "csv": [rows[0][name] for name in ("50%", "99%", "100%")],
    "page": [shown["min_response_time"], shown["max_response_time"], shown["response_time_percentile_0.95"]],
    "widths": [len(head), len(row)],
})
"""
    result = run_users(text, "", tmp_path)
    assert result["printed"] == ["TCP", "echo", "5", "1(20.00%)", "|", "3.26", "0.123", "12.3", "0.346"]
    assert result["percentiles"] == ["TCP", "echo", "0.346", "0.346", *["12.3"] * 9, "5"]
    assert result["csv"] == ["0.346", "12.3", "12.3"]
    assert result["page"] == [0.123, 12.3, 12.3]
    assert result["widths"][0] == result["widths"][1], "the columns stand under their heads"


def test_the_cheap_tally_counts_as_locust_does(tmp_path: Path) -> None:
    text = """
import random, time
from locust import stats
from geventecho.loadtest.measure import tally
clock = 1_000_000.0
time.time = tally.time = lambda: clock
stats.time.time = time.time
ours, theirs = (stats.RequestStats(use_response_times_cache=cache) for cache in (True, True))
for _ in range(5000):
    clock += random.choice((0, 0.001, 0.3, 1.7))
    name, length = random.choice("abc"), random.randrange(5000)
    response_time = random.choice((None, 0.0, random.expovariate(0.1), random.expovariate(0.001)))
    tally.log_request(ours, "TCP", name, response_time, length)
    theirs.total.log(response_time, length)
    theirs.entries[name, "TCP"].log(response_time, length)
compared = []
for key in ("total", "a", "b", "c"):
    pair = [kind.total if key == "total" else kind.entries[key, "TCP"] for kind in (ours, theirs)]
    left, right = (entry.serialize() | {"cache": entry.response_times_cache} for entry in pair)
    compared.append([left == right, left["num_requests"], len(left["cache"])])
answer(compared)
"""
    compared = run_users(text, "", tmp_path)
    assert [equal for equal, *_ in compared] == [True] * 4
    assert sum(requests for _, requests, _ in compared) == 10_000
    assert all(cached > 10 for _, _, cached in compared)


def test_who_listens_hears_of_everything_and_when_nobody_does_it_is_counted_all_the_same(tmp_path: Path) -> None:
    text = """
def done():
    return account_of(run.environment).ok
def until(number):
    run.wait(lambda: done() >= number)
    counts.append([done(), run.rows()["echo"][0] + run.rows()["connect"][0], len(run.events)])
counts = []
run = Run(EchoUser, target, 3, heard=False)
request = run.environment.events.request
until(200)
heard_from = done()
request.add_listener(run.on_request)
until(heard_from + 200)
request.remove_listener(run.on_request)
until(done() + 200)
total = run.environment.stats.total
result = run.finish()
result["counts"] = counts
result["heard_from"] = heard_from
result["event"] = {name: type(value).__name__ for name, value in run.events[0].items()}
result["total"] = [total.num_requests, sum(total.response_times.values()), total.total_content_length]
answer(result)
"""
    with peers.echoes() as peer:
        result = run_users(text, peer.target, tmp_path)
    assert result["errors"] == {}
    account = result["account"]
    assert account["started"] == account["ok"] + account["aborted"]
    for ok, counted, _ in result["counts"]:
        assert counted == ok
    unheard, heard, after = (events for *_, events in result["counts"])
    assert unheard == 0
    assert heard == result["counts"][1][0] - result["heard_from"] == after
    assert result["event"] == {
        "request_type": "str",
        "name": "str",
        "response_time": "float",
        "response_length": "int",
        "response": "bytes",
        "context": "dict",
        "exception": "NoneType",
        "start_time": "float",
    }
    requests, timed, length = result["total"]
    assert requests == timed == account["ok"]
    assert length == 1024 * result["rows"]["echo"][0]


def test_an_event_that_is_not_quite_locust_s_is_fired(tmp_path: Path) -> None:
    """Somebody's own `fire`, on the event or on all, and a second runner's count."""
    text = """
from locust.event import EventHook
def tell(self, original=EventHook.fire, **event):
    fired.append(event.get("name"))
    original(self, **event)
def one(run):
    run.wait(lambda: fired.count("echo") >= 10)
    result = run.finish()
    results.append([result["account"]["ok"], sum(requests for requests, _ in result["rows"].values())])
fired, results = [], []
class Own(EchoUser):
    def __init__(self, environment):
        event = environment.events.request
        event.fire = lambda **arguments: tell(event, **arguments)
        super().__init__(environment)
one(Run(Own, target, heard=False))
class Twice(EchoUser):
    def __init__(self, environment):
        environment.events.request.add_listener(lambda name, **_: fired.append(name))
        super().__init__(environment)
fired.clear()
one(Run(Twice, target, heard=False))
fired.clear()
EventHook.fire = tell
one(Run(EchoUser, target, heard=False))
answer(results)
"""
    with peers.echoes() as peer:
        results = run_users(text, peer.target, tmp_path)
    assert len(results) == 3
    for ok, counted in results:
        assert ok == counted >= 10


def test_a_listener_that_raises_costs_no_count_and_no_reconnect(tmp_path: Path) -> None:
    """What it raises goes on to Locust; the operation was counted once, and a broken connection is not used again."""
    text = f"""
from geventecho.framing import Exactly
from geventecho.loadtest import Request
from locust.exception import RescheduleTask, StopUser
class Waiter(BusyUser):
    backoff_base = {UNIT / 100}
    @locust.task
    def receive(self):
        self.client.receive(Exactly(1), timeout={UNIT / 50})
class Ahead(BusyUser):
    backoff_base = {UNIT / 100}
    @locust.task
    def ask(self):
        self.client.pipeline([Request(b"abcd", Exactly(4)) for _ in range(10)], depth=4)
class Wrong(BusyUser):
    backoff_base = {UNIT / 100}
    @locust.task
    def ask(self):
        self.client.pipeline([Request(b"abcd", Exactly(4), expect=b"zzzz") for _ in range(10)], depth=4)
results = []
for user, name, raised in (
    (Waiter, "receive", RescheduleTask), (Ahead, "request", StopUser), (Ahead, "request", RescheduleTask),
    (Wrong, "request", RescheduleTask),
):
    def listen(**event):
        if event["name"] == name:
            raise raised
    run = Run(user, target)
    run.environment.events.request.add_listener(listen)
    run.wait(lambda: run.count("connect") >= 4 or run.count("request") and not run.runner.user_count)
    results.append(run.finish())
answer(results)
"""
    with peers.echoes() as peer:
        results = run_users(text, peer.target, tmp_path)
    for result in results:
        assert_clean(result)
    assert set(results[0]["errors"]) == {"receive: read timeout"}
    assert results[1]["rows"]["request"] == [1, 0]
