"""One operation, one event: against peers that misbehave, with a real Locust Environment in a process of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peers
import pytest
from locust_process import run_script
from timing import UNIT, wait_until

HARNESS = "target = sys.argv[1]\n"  # what else there is, see harness.py


def run(text: str, target: str, directory: Path) -> dict[str, Any]:
    result: dict[str, Any] = run_script(HARNESS + text, target, directory=directory)
    return result


def assert_clean(result: dict[str, Any]) -> None:
    """What must hold after every run, whatever the peer did."""
    account = result["account"]
    assert account["started"] == account["ok"] + account["failed"] + account["aborted"]
    requests = sum(requests for requests, _ in result["rows"].values())
    failures = sum(failures for _, failures in result["rows"].values())
    assert result["fired"] == requests == account["ok"] + account["failed"]
    assert failures == account["failed"] == sum(result["errors"].values())
    assert result["timed_failures"] == 0, "a failure has no response time"
    assert (result["sockets_left"], result["users_left"], result["greenlets_left"]) == (0, 0, 0)


# The peer, the row that fails and the name it fails by.
FAULTS: dict[str, tuple[Callable[[], Any], str, str]] = {
    "refused": (peers.refuses, "connect", "refused"),
    "connect timeout": (peers.never_accepts, "connect", "connect timeout"),
    "read timeout": (peers.never_replies, "echo", "read timeout"),
    "write timeout": (peers.never_reads, "echo", "write timeout"),
    "reset": (lambda: peers.resets_after(100), "echo", "reset"),
    "short reply": (lambda: peers.replies_short(100), "echo", "short reply"),
    "corrupt reply": (lambda: peers.corrupts(100), "echo", "corrupt reply"),
    "closed by peer": (lambda: peers.closes_between_requests(1024), "echo", "closed by peer"),
    "unsolicited data": (peers.replies_long, "echo", "unsolicited data"),
}


@pytest.mark.faults
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_named_failure(fault: str, tmp_path: Path) -> None:
    make, row, kind = FAULTS[fault]
    size = 8 * 1024 * 1024 if fault == "write timeout" else 1024
    text = f"""
EchoUser.wait_time = locust.constant({UNIT})  # time for a FIN or for stray bytes to arrive
EchoUser.backoff_base = {UNIT}
run = Run(EchoUser, target, 3, connect_timeout={3 * UNIT}, request_timeout={3 * UNIT}, payload_size={size})
run.wait(lambda: run.count({row!r}, failed=True) >= 6)
answer(run.finish())
"""
    with make() as peer:
        target = peer if isinstance(peer, str) else peer.target
        result = run(text, target, tmp_path)
        assert_clean(result)
        assert result["exceptions"] == []
        assert result["errors"] == {f"{row}: {kind}": result["rows"][row][1]}, "one name, without address or offset"
        if row == "echo":
            connects, failed = result["rows"]["connect"]
            assert failed == 0
            assert connects == peer.accepted > 3, "each loss was followed by a connect of its own"
        if fault in ("reset", "short reply", "corrupt reply", "unsolicited data"):  # the others do not look
            wait_until(lambda: peer.open == 0, what="the peer sees every connection closed")


def test_echoes(tmp_path: Path) -> None:
    text = """
payloads = []
class User(BusyUser):
    def echo_once(self):
        payload = self.next_payload()
        payloads.append(payload)
        assert self.client.echo(payload, context={"number": len(payloads)}) is payload
    tasks = [echo_once]
    def context(self):
        return {"user": id(self)}
run = Run(User, target, 5, payload_size=100)
run.wait(lambda: run.count("echo") >= 500)
result = run.finish()
echoes = [event for event in run.events if event["name"] == "echo"]
result["distinct"] = len(set(payloads)) == len(payloads)
result["lengths"] = sorted({event["response_length"] for event in echoes})
result["types"] = sorted({event["request_type"] for event in run.events})
result["users"] = len({event["context"]["user"] for event in run.events})
result["numbers"] = len({event["context"]["number"] for event in echoes})
result["floats"] = all(type(event["response_time"]) is float and event["response_time"] > 0 for event in run.events)
entry = run.environment.stats.get("echo", "TCP")
result["median"] = entry.median_response_time
answer(result)
"""
    with peers.echoes() as peer:
        result = run(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["errors"] == {}
    assert result["rows"]["connect"] == [5, 0]
    assert result["distinct"]
    assert result["lengths"] == [100]
    assert result["types"] == ["TCP"]
    assert result["users"] == 5
    assert result["numbers"] == result["rows"]["echo"][0]
    assert result["floats"]
    assert 0 < result["median"] != round(result["median"]), "in microseconds"


@pytest.mark.faults
@pytest.mark.parametrize("stop_timeout", [0.0, 5 * UNIT])
def test_stop_in_mid_request_is_no_failure(stop_timeout: float, tmp_path: Path) -> None:
    text = f"""
run = Run(EchoUser, target, 200, stop_timeout={stop_timeout}, request_timeout=60)
run.wait(lambda: run.count("connect") == 200)
gevent.sleep({UNIT})
answer(run.finish())
"""
    with peers.never_replies() as peer:
        result = run(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["account"] == {"started": 400, "ok": 200, "failed": 0, "aborted": 200}
    assert stop_timeout <= result["stop_seconds"] < stop_timeout + 10 * UNIT


@pytest.mark.faults
def test_stop_ends_the_back_off_at_once(tmp_path: Path) -> None:
    text = """
EchoUser.backoff_base = EchoUser.backoff_cap = 600.0
run = Run(EchoUser, target, 20, stop_timeout=60)
run.wait(lambda: run.count("connect") == 20)
gevent.sleep(0.05)
answer(run.finish())
"""
    with peers.refuses() as target:
        result = run(text, target, tmp_path)
    assert_clean(result)
    assert result["rows"] == {"connect": [20, 20]}
    assert result["stop_seconds"] < 10 * UNIT


@pytest.mark.faults
def test_a_restarted_server_is_not_stampeded(tmp_path: Path) -> None:
    """300 connections break in the same instant: the reconnects are spread over the back-off."""
    text = f"""
EchoUser.wait_time = locust.constant({UNIT})
EchoUser.backoff_base = {10 * UNIT}
run = Run(EchoUser, target, 300)
run.wait(lambda: run.count("echo", failed=True) == 300, 20)
run.wait(lambda: run.count("connect", failed=False) == 600, 30)
before = run.count("echo", failed=False)
run.wait(lambda: run.count("echo", failed=False) >= before + 300)
result = run.finish()
starts = [event["start_time"] for event in run.events if event["name"] == "connect"][300:]
result["peak"] = max(sum(start <= other < start + {UNIT} for other in starts) for start in starts)
answer(result)
"""
    with contextlib.ExitStack() as stack:
        peer = peers.echoes()
        stack.enter_context(peer)

        def restart() -> None:
            wait_until(lambda: peer.accepted == 300)
            peer.stop()
            stack.enter_context(peers.echoes(port=peer.port))

        restarting = threading.Thread(target=restart)
        restarting.start()
        result = run(text, peer.target, tmp_path)
        restarting.join()
    assert_clean(result)
    assert result["rows"]["echo"][1] == 300
    assert result["rows"]["connect"] == [600, 0]
    print(f"most connects within {UNIT:g} s: {result['peak']} of 300")
    assert result["peak"] < 100


def test_failures_in_a_row_lengthen_the_back_off(tmp_path: Path) -> None:
    text = f"""
EchoUser.backoff_base, EchoUser.backoff_cap = {UNIT / 10}, {UNIT}
run = Run(EchoUser, target, 1)
run.wait(lambda: run.count("connect") >= 30)
result = run.finish()
starts = [event["start_time"] for event in run.events]
result["pauses"] = [later - earlier for earlier, later in zip(starts, starts[1:])]
answer(result)
"""
    with peers.refuses() as target:
        result = run(text, target, tmp_path)
    assert_clean(result)
    first, last = result["pauses"][:3], result["pauses"][-20:]
    assert max(first[:1]) < UNIT
    assert sum(first) / 3 < sum(last) / 20
    assert max(last) < 3 * UNIT, "the cap holds"


def test_a_timeout_of_the_tasks_own_is_a_failure(tmp_path: Path) -> None:
    text = f"""
class User(BusyUser):
    def impatient(self):
        try:
            with gevent.Timeout({UNIT}):
                self.client.echo(b"x")
        except gevent.Timeout:
            pass
    tasks = [impatient]
run = Run(User, target, 1)
run.wait(lambda: run.count("echo") >= 2)
answer(run.finish())
"""
    with peers.never_replies() as peer:
        result = run(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["errors"] == {f"echo: Timeout: {UNIT:g} seconds": result["rows"]["echo"][1]}


def test_a_mistake_in_the_task_is_shown_as_one(tmp_path: Path) -> None:
    text = """
class User(BusyUser):
    wait_time = locust.constant(0.05)
    def wrong(self):
        self.client.echo("text")
    tasks = [wrong]
import logging
logging.getLogger("locust.user.task").disabled = True
run = Run(User, target, 1)
run.wait(lambda: len(run.exceptions) >= 2)
answer(run.finish())
"""
    with peers.echoes() as peer:
        result = run(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["exceptions"][0].startswith("TypeError")
    assert result["account"]["failed"] == result["rows"]["echo"][1] >= 2


def test_catching_a_failure_goes_on_with_the_task(tmp_path: Path) -> None:
    text = """
from geventecho.loadtest import Failed
from geventecho.errors import CorruptReply
caught = []
class User(BusyUser):
    backoff_base = 0.01
    def careful(self):
        try:
            self.client.echo(self.next_payload())
        except Failed as failed:
            assert isinstance(failed.error, CorruptReply)
            caught.append([failed.kind, str(failed), failed.error.offset, target in str(failed.error)])
    tasks = [careful]
run = Run(User, target, 1)
run.wait(lambda: len(caught) >= 3)
answer(run.finish() | {"caught": caught[:3]})
"""
    with peers.corrupts(7) as peer:
        result = run(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["caught"] == [["corrupt reply", "corrupt reply", 7, True]] * 3


def test_a_subclass_may_replace_on_start_and_on_stop(tmp_path: Path) -> None:
    text = """
class User(EchoUser):
    def on_start(self):
        pass
    def on_stop(self):
        pass
run = Run(User, target, 10)
run.wait(lambda: run.count("echo") >= 50)
answer(run.finish())
"""
    with peers.echoes() as peer:
        result = run(text, peer.target, tmp_path)
        wait_until(lambda: peer.open == 0, what="connections closed all the same")
    assert_clean(result)
    assert result["rows"]["connect"] == [10, 0]


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("nonsense", "", "the port is missing"),
        ("http://127.0.0.1:80", "", "'http://' is not known"),
        ("tls://127.0.0.1:80", "", "a load test cannot connect to"),
        ("", "", "no target was given"),
        ("tcp://127.0.0.1:1", "payload_size=0", "Payload size: '0' is not a whole number of 1 to 1073741824"),
        ("tcp://127.0.0.1:1", "request_timeout='soon'", "Request timeout: 'soon' is not a number of seconds"),
    ],
)
def test_a_wrong_setting_stops_the_test(target: str, options: str, message: str, tmp_path: Path) -> None:
    text = f"""
import logging
records = []
class Records(logging.Handler):
    def emit(self, record):
        records.append(record.getMessage())
logging.getLogger("locust.runners").addHandler(Records())
class User(TcpUser):
    tasks = [lambda user: None]
run = Run(User, target, 3, {options})
gevent.get_hub().exception_stream = None  # Locust lets the greenlet that spawns die of StopTest
run.wait(lambda: run.runner.state == "stopped")
answer(run.finish() | {{"records": records, "code": run.environment.process_exit_code}})
"""
    result = run("from geventecho.loadtest import TcpUser\n" + text, target, tmp_path)
    assert any(message in record for record in result["records"]), result["records"]
    assert result["code"] == 2
    assert result["rows"] == {}


def test_buckets_keep_three_digits(tmp_path: Path) -> None:
    text = """
import math, random
from geventecho.loadtest.precision import bucket
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
    result = run(text, "", tmp_path)
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


def test_payloads_differ(tmp_path: Path) -> None:
    text = """
from itertools import islice
from geventecho.loadtest.payload import distinct_payloads
result = {}
for size in (1, 2, 3, 7, 8, 9, 15, 16, 17, 100, 5000):
    users = [list(islice(distinct_payloads(size), 200)) for _ in range(20)]
    everything = [payload for user in users for payload in user]
    result[size] = [
        {len(payload) for payload in everything} == {size},
        all(len(set(user)) == 200 for user in users),
        len(set(everything)) == len(everything),
    ]
first, second = islice(distinct_payloads(4096), 2)
result["alike"] = sum(a == b for a, b in zip(first, second))
answer(result)
"""
    result = run(text, "", tmp_path)
    assert result.pop("alike") < 200, "they differ all over"
    for size, (right_size, distinct_for_user, distinct_for_all) in result.items():
        assert right_size
        assert distinct_for_user
        # Two bytes hold 65,536 values: chance decides for 4,000 payloads. From eight on it does not happen.
        assert distinct_for_all or int(size) < 7


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
    result = run(text, "", tmp_path)
    assert result["printed"] == ["TCP", "echo", "5", "1(20.00%)", "|", "3.26", "0.123", "12.3", "0.346"]
    assert result["percentiles"] == ["TCP", "echo", "0.346", "0.346", *["12.3"] * 9, "5"]
    assert result["csv"] == ["0.346", "12.3", "12.3"]
    assert result["page"] == [0.123, 12.3, 12.3]
    assert result["widths"][0] == result["widths"][1], "the columns stand under their heads"


def test_the_cheap_tally_counts_as_locust_does(tmp_path: Path) -> None:
    text = """
import random, time
from locust import stats
from geventecho.loadtest import tally
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
    compared = run(text, "", tmp_path)
    assert [equal for equal, *_ in compared] == [True] * 4
    assert sum(requests for _, requests, _ in compared) == 10_000
    assert all(cached > 10 for _, _, cached in compared)
