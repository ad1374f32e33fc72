"""A user with one task runs in our own loop, which does the same as Locust's loop."""

from __future__ import annotations

from tests.support import peers
from tests.support.locust_script import assert_clean, run_script, run_users
from tests.support.timing import UNIT


def test_other_tasks_and_errors_interrupt_the_loop_of_an_only_task() -> None:
    """The user gets other tasks, schedules one itself, raises errors and RescheduleTask, and its wait_time fails."""
    with peers.echoes() as peer:
        result = run_users("only_task.other_tasks_and_errors", peer.target)
    assert result["errors"] == {}
    assert result["exceptions"] == ["ValueError('of the task')", "ValueError('no time')"]
    assert result["others"] == [10, 50]


def test_a_graceful_stop_waits_for_the_end_of_an_only_task() -> None:
    with peers.echoes() as peer:
        result = run_users("only_task.graceful_stop", peer.target)
    assert (result["errors"], result["exceptions"]) == ({}, [])
    assert result["account"]["aborted"] == 0
    assert result["stopped"] == ["end"] * 10


def test_a_method_of_locusts_loop_that_a_plugin_has_replaced_is_called() -> None:
    """locust-plugins and others wrap `execute_task` to limit iterations. A plugin wraps `wait` to change waits."""
    with peers.echoes() as peer:
        limited, counted = run_script("only_task.plugins", peer.target)
    assert_clean(limited)
    assert_clean(counted)
    assert limited["rows"]["echo"] == [50, 0]


def test_a_wait_time_that_waits_ends_with_its_user() -> None:
    with peers.echoes() as peer:
        result = run_users("only_task.wait_time_that_waits", peer.target)
    assert result["rows"]["echo"] == [3, 0]
    assert result["stop_seconds"] < 20 * UNIT


def test_min_wait_and_max_wait_set_the_wait() -> None:
    with peers.echoes() as peer:
        result = run_users("only_task.min_wait_and_max_wait", peer.target)
    assert result["exceptions"] == []
    assert result["seconds"] == [0.005]


def test_a_task_that_replaces_the_only_task_in_the_same_list_runs() -> None:
    with peers.echoes() as peer:
        result = run_users("only_task.task_in_the_same_list", peer.target)
    assert result["rows"]["first"] == [1, 0]
