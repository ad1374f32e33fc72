"""The task loop skips the sleep of a user that has just waited: no user starves, and every user still stops."""

from __future__ import annotations

import pytest

from tests.support import peers
from tests.support.locust_script import run_script, run_users
from tests.support.timing import UNIT


def test_a_user_that_has_waited_for_a_reply_does_not_sleep() -> None:
    with peers.echoes() as peer:
        result = run_users("tasks.busy", peer.target)
    assert result["errors"] == {}
    assert result["slept"] <= 200


def test_users_without_pauses_have_equal_shares() -> None:
    with peers.echoes() as peer:
        result = run_users("tasks.shares", peer.target)
    assert len(result["shares"]) == 20
    assert result["shares"][0] >= result["shares"][-1] / 4


@pytest.mark.parametrize("script", ["tasks.spinners", "tasks.senders"])
def test_a_task_that_never_waits_lets_the_others_run(script: str) -> None:
    """A task that only computes and a task that sends a few bytes never wait. Both yield after each task."""
    with peers.echoes() as peer:
        result = run_users(script, peer.target)
    assert result["errors"] == {}
    assert result["slept"] >= 200


def test_users_of_locust_s_own_class_sleep_after_each_task() -> None:
    turns, slept = run_script("tasks.other_users", "tcp://127.0.0.1:1")
    assert turns - 3 <= slept <= turns


def test_a_user_with_a_wait_time_sleeps_for_that_time() -> None:
    with peers.echoes() as peer:
        result = run_users("tasks.wait_of_some_seconds", peer.target)
    assert result["seconds"] == [UNIT / 10]
    assert result["slept"] >= 8


def test_locust_s_ways_to_end_a_task_work() -> None:
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
