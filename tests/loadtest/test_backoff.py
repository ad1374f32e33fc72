"""The back-off of a user is spread, grows with each failure in a row, and ends at once at a stop."""

from __future__ import annotations

import threading

import pytest

from tests.support import peers
from tests.support.locust_script import run_users
from tests.support.timing import UNIT, wait_until


@pytest.mark.faults
def test_stop_ends_the_back_off_at_once() -> None:
    with peers.refuses() as target:
        result = run_users("backoff.long_back_off", target)
    assert result["rows"] == {"connect": [20, 20]}
    assert result["stop_seconds"] < 10 * UNIT


@pytest.mark.faults
def test_a_restarted_server_is_not_stampeded() -> None:
    """300 connections end in the same instant. The reconnects are spread over the back-off."""
    with peers.echoes() as peer:

        def restart() -> None:
            wait_until(lambda: peer.accepted == 300)
            peer.end_connections()

        restarting = threading.Thread(target=restart)
        restarting.start()
        result = run_users("backoff.reconnects_after_a_restart", peer.target)
        restarting.join()
    assert result["rows"]["echo"][1] == 300
    assert result["rows"]["connect"] == [600, 0]
    print(f"most connects within {UNIT:g} s: {result['peak']} of 300")
    assert result["peak"] < 100


def test_failures_in_a_row_lengthen_the_back_off() -> None:
    with peers.refuses() as target:
        result = run_users("backoff.pauses", target)
    first, last = result["pauses"][:3], result["pauses"][-20:]
    assert max(first[:1]) < UNIT
    assert sum(first) / 3 < sum(last) / 20
    assert max(last) < 10 * UNIT, "without a cap of one unit the eighth pause is longer"
