"""The counts of the load test: times of three digits, microseconds in the outputs, and the cheap tally."""

from __future__ import annotations

from tests.support import peers
from tests.support.locust_script import assert_clean, run_script


def test_buckets_keep_three_digits() -> None:
    result = run_script("statistics.buckets")
    assert result.pop("worst") <= 0.005001
    assert result.pop("per_decade") <= 900
    assert result == {
        "digits": True,
        "idempotent": True,
        "rising": True,
        "floats": True,
        "zero": 0.0,
    }


def test_the_web_ui_and_the_csv_files_show_microseconds() -> None:
    result = run_script("statistics.outputs")
    assert result["csv"] == ["0.346", "12.3", "12.3"]
    assert result["page"] == [0.123, 12.3, 12.3]


def test_the_cheap_tally_counts_as_locust_does() -> None:
    compared = run_script("statistics.tally_and_locust")
    assert [equal for equal, *_ in compared] == [True] * 4
    assert sum(requests for _, requests, _ in compared) == 10_000
    assert all(cached > 10 for _, _, cached in compared)


def test_counts_that_locust_resets_do_not_come_back() -> None:
    with peers.echoes() as peer:
        found = run_script("statistics.reset_and_clear", peer.target)
    assert found == [[0, 0]] * 4


def test_a_listener_gets_every_event_and_all_operations_are_counted_without_it() -> None:
    with peers.echoes() as peer:
        result = run_script("statistics.listener_comes_and_goes", peer.target)
    assert result["errors"] == {}
    account = result["account"]
    assert account["started"] == account["ok"] + account["aborted"]
    for ok, counted, _ in result["counts"]:
        assert counted == ok
    unheard, heard, after = (events for *_, events in result["counts"])
    assert unheard == 0
    assert heard == result["counts"][1][0] - result["listened_from"] == after
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


def test_an_event_with_another_fire_or_another_listener_is_fired() -> None:
    """`fire` is replaced on this event or on all events, or the event has a listener beside Locust's."""
    with peers.echoes() as peer:
        results = run_script("statistics.replaced_fire", peer.target)
    assert len(results) == 3
    for ok, counted, fired in results:
        assert ok == counted == fired >= 10


def test_a_listener_that_raises_prevents_neither_the_count_nor_the_reconnect() -> None:
    """Locust gets its exception. The operation is counted once, and a broken connection is not used again."""
    with peers.echoes() as peer:
        results = run_script("statistics.listener_raises", peer.target)
    for result in results:
        assert_clean(result)
    assert set(results[0]["errors"]) == {"receive: read timeout"}
    assert results[1]["rows"]["request"] == [1, 0]
    assert set(results[3]["errors"]) == {"request: unexpected reply", "request: closed locally"}
