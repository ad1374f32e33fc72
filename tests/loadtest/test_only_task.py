"""A user with one task: a loop of its own, which must do the same as Locust's."""

from __future__ import annotations

from tests.support import peers
from tests.support.locust_script import assert_clean, run_script, run_users
from tests.support.timing import UNIT


def test_an_only_task_is_left_when_something_else_is_up() -> None:
    """Other tasks given at run time, one scheduled by hand, an error, rescheduling, and a wait_time that fails."""
    with peers.echoes() as peer:
        result = run_users("only_task.something_else_is_up", peer.target)
    assert result["errors"] == {}
    assert result["exceptions"] == ["ValueError('of the task')", "ValueError('no time')"]
    assert result["others"] == [10, 50]


def test_an_only_task_ends_where_locust_ends_it() -> None:
    with peers.echoes() as peer:
        result = run_users("only_task.graceful_stop", peer.target)
    assert (result["errors"], result["exceptions"]) == ({}, [])
    assert result["account"]["aborted"] == 0
    assert result["stopped"] == ["end"] * 10


def test_what_a_plugin_replaced_of_locust_s_loop_is_called() -> None:
    """A limit of iterations is put around execute_task, by locust-plugins and others; waits are changed in `wait`."""
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


def test_the_old_ways_to_say_how_long_to_wait_are_kept() -> None:
    with peers.echoes() as peer:
        result = run_users("only_task.min_wait_and_max_wait", peer.target)
    assert result["exceptions"] == []
    assert result["seconds"] == [0.005]


def test_another_only_task_takes_over_in_the_same_list() -> None:
    with peers.echoes() as peer:
        result = run_users("only_task.task_in_the_same_list", peer.target)
    assert result["rows"]["first"] == [1, 0]


def test_a_single_user_runs_under_locust_s_debugger_entry() -> None:
    with peers.echoes() as peer:
        assert run_script("only_task.single_user", peer.target) == [["connect", None], ["echo", None]]
