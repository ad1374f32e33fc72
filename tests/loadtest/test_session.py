"""One operation, one event: against peers that misbehave, with a real Locust Environment in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.locust_script import assert_clean, run_users
from tests.support.timing import UNIT, wait_until

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
        result = run_users(text, target, tmp_path)
        assert_clean(result)
        assert result["exceptions"] == []
        assert result["errors"] == {f"{row}: {kind}": result["rows"][row][1]}, "one name, without address or offset"
        if row == "echo":
            connects, failed = result["rows"]["connect"]
            assert failed == 0
            # Each loss was followed by a connect of its own; the end may have met one of each of the three users.
            assert 3 < connects <= peer.accepted <= connects + 3
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
        result = run_users(text, peer.target, tmp_path)
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
        result = run_users(text, peer.target, tmp_path)
    assert_clean(result)
    assert result["account"] == {"started": 400, "ok": 200, "failed": 0, "aborted": 200}
    assert stop_timeout <= result["stop_seconds"] < stop_timeout + 10 * UNIT


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
        result = run_users(text, peer.target, tmp_path)
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
        result = run_users(text, peer.target, tmp_path)
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
        result = run_users(text, peer.target, tmp_path)
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
        result = run_users(text, peer.target, tmp_path)
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
        ("tcp://127.0.0.1:1", "payload_size=0", "--tcp-payload-size: '0' is not a whole number of 1 to 1073741824"),
        ("tcp://127.0.0.1:1", "request_timeout='soon'", "--tcp-request-timeout: 'soon' is not a number of seconds"),
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
    result = run_users("from geventecho.loadtest import TcpUser\n" + text, target, tmp_path)
    assert any(message in record for record in result["records"]), result["records"]
    assert result["code"] == 2
    assert result["rows"] == {}


def test_payloads_differ(tmp_path: Path) -> None:
    text = """
from itertools import islice
from geventecho.loadtest.users.payloads import distinct_payloads
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
    result = run_users(text, "", tmp_path)
    assert result.pop("alike") < 200, "they differ all over"
    for size, (right_size, distinct_for_user, distinct_for_all) in result.items():
        assert right_size
        assert distinct_for_user
        # Two bytes hold 65,536 values: chance decides for 4,000 payloads. From eight on it does not happen.
        assert distinct_for_all or int(size) < 7
