"""Between two connections of a user: spread, longer with each failure, ended at once by a stop."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.locust_script import assert_clean, run_users
from tests.support.timing import UNIT, wait_until


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
        result = run_users(text, target, tmp_path)
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
        result = run_users(text, peer.target, tmp_path)
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
        result = run_users(text, target, tmp_path)
    assert_clean(result)
    first, last = result["pauses"][:3], result["pauses"][-20:]
    assert max(first[:1]) < UNIT
    assert sum(first) / 3 < sum(last) / 20
    assert max(last) < 3 * UNIT, "the cap holds"
