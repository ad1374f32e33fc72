"""The task loop's short way for users that have let the others run: nobody starves, nobody is harder to stop."""

from __future__ import annotations

import pytest

from tests.support import peers
from tests.support.locust_script import run_script, run_users
from tests.support.timing import UNIT


def test_a_user_that_waited_for_its_reply_does_not_sleep_as_well() -> None:
    with peers.echoes() as peer:
        result = run_users("tasks.busy", peer.target)
    assert result["errors"] == {}
    assert result["slept"] <= 200


def test_flat_out_users_have_equal_shares() -> None:
    with peers.echoes() as peer:
        result = run_users("tasks.shares", peer.target)
    assert len(result["shares"]) == 20
    assert result["shares"][0] >= result["shares"][-1] / 4


@pytest.mark.parametrize("script", ["tasks.spinners", "tasks.senders"])
def test_a_task_that_never_waits_lets_the_others_run(script: str) -> None:
    """It does not wait for anything, nor does a send of a few bytes: each still yields between tasks."""
    with peers.echoes() as peer:
        result = run_users(script, peer.target)
    assert result["errors"] == {}
    assert result["slept"] >= 200


def test_locust_s_own_users_sleep_as_ever() -> None:
    turns, slept = run_script("tasks.other_users", "tcp://127.0.0.1:1")
    assert turns - 3 <= slept <= turns


def test_a_wait_of_some_seconds_is_kept() -> None:
    with peers.echoes() as peer:
        result = run_users("tasks.wait_of_some_seconds", peer.target)
    assert result["seconds"] == [UNIT / 10]
    assert result["slept"] >= 8


def test_locust_s_ways_out_of_a_task_still_work() -> None:
    """Weights, a nested task set that interrupts, rescheduling, StopUser, and a graceful stop with on_stop."""
    with peers.echoes() as peer:
        result = run_users("tasks.weights_and_a_nested_task_set", peer.target)
        left = run_users("tasks.leavers", peer.target)
    for run in (result, left):
        assert (run["errors"], run["exceptions"]) == ({}, [])
    assert left["rows"]["echo"] == [4, 0]
    assert result["stopped"] == 10
    assert result["account"]["aborted"] == 0, "each user ended between two tasks"
    assert 0.5 < result["seen"]["echo"] < 0.7
    assert 0.1 < result["seen"]["inside"] < 0.3
    assert 0.1 < result["seen"]["again"] < 0.3
