"""One operation is one event, also with peers that misbehave, in a real Locust Environment in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import peers
from tests.support.locust_script import run_script, run_users
from tests.support.timing import UNIT, wait_until

# The peer, the row that fails, and the name of the failure.
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
def test_a_fault_is_one_named_failure(fault: str) -> None:
    make, row, kind = FAULTS[fault]
    size = 8 * 1024 * 1024 if fault == "write timeout" else 1024
    with make() as peer:
        target = peer if isinstance(peer, str) else peer.target
        result = run_users("session.fault", target, row=row, size=size)
        assert result["exceptions"] == []
        assert result["errors"] == {f"{row}: {kind}": result["rows"][row][1]}, "one name, without address or offset"
        lost = 0 if row == "connect" else result["rows"][row][1]
        assert result["connections"]["lost"] == lost, "each failed echo loses its connection, whichever side ends it"
        if row == "echo":
            connects, failed = result["rows"]["connect"]
            assert failed == 0
            # After each loss the user connects again. The end of the test may abort one such connect of each user.
            assert 3 < connects <= peer.accepted <= connects + 3
            if fault not in ("read timeout", "write timeout"):  # these two peers do not notice a FIN
                wait_until(lambda: peer.open == 0, goal="the peer sees every connection closed")


def test_a_second_greenlet_is_refused_and_the_first_goes_on() -> None:
    with peers.echoes() as peer:
        result = run_users("session.two_greenlets", peer.target)
        assert peer.accepted == 1, "the connection is kept"
    assert result["errors"] == {"second: concurrent use": result["rows"]["second"][0]}


def test_each_echo_is_an_event_with_its_time_and_context() -> None:
    with peers.echoes() as peer:
        result = run_users("session.echoes", peer.target)
    assert result["errors"] == {}
    assert result["rows"]["connect"] == [5, 0]
    assert result["distinct"]
    assert result["lengths"] == [100]
    assert result["types"] == ["TCP"]
    assert result["users"] == 5
    assert result["numbers"] == result["rows"]["echo"][0]
    assert result["floats"]
    assert 0 < result["median"] != round(result["median"]), "a fraction of a millisecond"


@pytest.mark.faults
@pytest.mark.parametrize("stop_timeout", [0.0, 5 * UNIT])
def test_stop_in_mid_request_is_no_failure(stop_timeout: float) -> None:
    with peers.never_replies() as peer:
        result = run_users("session.stop_in_mid_request", peer.target, stop_timeout=stop_timeout)
    assert result["account"] == {"started": 400, "ok": 200, "failed": 0, "aborted": 200}
    assert result["connections"] == {"connected": 200, "open": 0, "opening": 0, "lost": 0}
    assert stop_timeout <= result["stop_seconds"] < stop_timeout + 20 * UNIT


def test_a_timeout_of_the_tasks_own_is_a_failure() -> None:
    with peers.never_replies() as peer:
        result = run_users("session.timeout_of_the_task", peer.target, limit=5 * UNIT)
    assert result["errors"] == {f"echo: Timeout: {5 * UNIT:g} seconds": result["rows"]["echo"][1]}


def test_an_exception_of_the_task_is_reported_and_counted_as_a_failure() -> None:
    with peers.echoes() as peer:
        result = run_users("session.mistake_in_the_task", peer.target)
    assert result["exceptions"][0].startswith("TypeError")
    assert result["account"]["failed"] == result["rows"]["echo"][1] >= 2


def test_a_task_that_catches_a_failure_goes_on() -> None:
    with peers.corrupts(7) as peer:
        result = run_users("session.catching_a_failure", peer.target)
    assert result["caught"] == [["corrupt reply", "corrupt reply", 7, True]] * 3


def test_a_subclass_may_replace_on_start_and_on_stop() -> None:
    with peers.echoes() as peer:
        result = run_users("session.own_on_start_and_on_stop", peer.target)
        wait_until(lambda: peer.open == 0, goal="every connection closed")
    assert result["rows"]["connect"] == [10, 0]


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("nonsense", {}, "the port is missing"),
        ("http://127.0.0.1:80", {}, "'http://' is not known"),
        (
            "tls://127.0.0.1:80",
            {"tls_ca": "/no"},
            "--tcp-tls-ca: the file /no cannot be read: No such file",
        ),
        ("", {}, "no target was given"),
        ("tcp://127.0.0.1:1", {"payload_size": 0}, "--tcp-payload-size: '0' is not a whole number of 1 to 1073741824"),
        ("tcp://127.0.0.1:1", {"request_timeout": "soon"}, "--tcp-request-timeout: 'soon' is not a number of seconds"),
    ],
)
def test_a_wrong_setting_stops_the_test(target: str, options: dict[str, Any], message: str) -> None:
    result = run_script("session.wrong_setting", target, **options)
    assert any(message in record for record in result["records"]), result["records"]
    assert result["code"] == 2
    assert result["rows"] == {}


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 15, 16, 17, 100, 5000])
def test_payloads_differ(size: int) -> None:
    result = run_script("session.payloads", size)
    assert result["right size"]
    assert result["distinct for a user"]
    # 20 users make 4,000 payloads. With up to three bytes, two users may make the same payload by chance.
    assert result["distinct for all"] or size < 7


def test_two_payloads_of_a_user_differ_in_most_bytes() -> None:
    assert run_script("session.equal_bytes", 4096) < 200
