"""The open mode: tasks begin at planned instants, even if the server is slow, and every instant is counted."""

from __future__ import annotations

import re
import signal
import socket
import statistics
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.locust_process import ECHO_USER, LOCUSTFILES, EchoServerProcess, LocustRun
from tests.support.locust_script import run_script, run_users
from tests.support.timing import UNIT

TASKS = re.compile(r"tasks: planned (\d+), sent (\d+) \((\d+) of them late\), dropped (\d+)\n")
HEADLESS = ("--headless", "-u", "20", "-r", "20")


def assert_balanced(result: dict[str, Any]) -> None:
    """Every instant that fell due was sent or dropped."""
    assert result["planned"] == result["sent"] + result["dropped"]
    assert 0 <= result["late"] <= result["sent"]


# The plan ---------------------------------------------------------------------------------------------------------


def test_even_instants_follow_the_rate_of_each_stage() -> None:
    (instants,) = run_script("arrivals.plan", [[4.0, 1.0], [0.1, 30.0], [2.0, 1.0]], "even", 1)
    assert instants == [0.0, 0.25, 0.5, 0.75, 1.0, 11.0, 21.0, 31.0, 31.5]
    (rounded,) = run_script("arrivals.plan", [[1.1, 50.0]], "even", 1)
    assert len(rounded) == 55, "1.1 * 50 is 55.00000000000001"


@pytest.mark.parametrize("workers", [2, 3, 7])
def test_workers_together_have_the_even_instants_of_a_single_worker(workers: int) -> None:
    stages = [[100.0, 1.0], [33.0, 2.0], [10.0, 1.0]]
    (single,) = run_script("arrivals.plan", stages, "even", 1)
    parts = run_script("arrivals.plan", stages, "even", workers)
    assert sorted(chain.from_iterable(parts)) == single
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_last_stage_without_a_duration_has_no_end() -> None:
    parts = run_script("arrivals.plan", [[3.0, 1.0], [10.0, None]], "even", 2, 100)
    assert [len(part) for part in parts] == [100, 100]
    assert sorted(chain.from_iterable(parts))[:5] == [0.0, 1 / 3, 2 / 3, 1.0, 1.1]


@pytest.mark.parametrize("workers", [1, 4])
def test_the_distances_of_poisson_instants_are_exponential_over_all_workers(workers: int) -> None:
    assert run_script("arrivals.exponential_distance", 100.0, workers, 20_000) <= 0.02


def test_poisson_instants_repeat_with_their_seed_and_keep_to_their_stages() -> None:
    stages = [[100.0, 10.0], [10.0, 100.0]]
    (first,), (again,) = (run_script("arrivals.plan", stages, "poisson", 1) for _ in range(2))
    assert first == again == sorted(first)
    assert 880 <= sum(instant < 10 for instant in first) <= 1120
    assert 880 <= sum(instant >= 10 for instant in first) <= 1120
    assert first[-1] < 110
    (short,) = run_script("arrivals.plan", [[10.0, 0.1]] * 100, "poisson", 1)
    assert short[-1] < 10, "a stage begins at the end of the stage before it, not at the first instant after that end"


# Users under a plan -----------------------------------------------------------------------------------------------


def test_wait_times_are_not_used_and_tasks_of_nested_task_sets_count() -> None:
    with peers.echoes() as peer:
        result = run_users("arrivals.wait_times", peer.target)
    assert_balanced(result)
    assert result["sent"] - 3 <= result["done"] <= result["sent"], "each user may be in one more task"
    assert (result["errors"], result["exceptions"]) == ({}, [])
    halfway = list(accumulate(1 if name == "first" else -1 for name in result["sequence"]))
    assert all(0 <= users <= 3 for users in halfway), "each of the three users does the first task, then the second"


@pytest.mark.parametrize("why", ["error", "failure", "leaves", "at once"])
def test_a_task_set_whose_on_start_ends_it_is_entered_at_the_planned_instants(why: str) -> None:
    with peers.echoes() as peer:
        result = run_users("arrivals.no_task_begins", peer.target, why=why)
    assert_balanced(result)
    assert result["entered"] >= 10
    assert result["sent"] - 2 <= result["entered"] <= result["sent"]


def test_users_without_a_task_wait_before_they_look_for_one_again() -> None:
    with peers.echoes() as peer:
        result = run_users("arrivals.no_task_begins", peer.target, why="no task")
    assert_balanced(result)
    assert result["sent"] == 0
    assert 4 <= len(result["exceptions"]) <= 2 * (1 + result["seconds"] / UNIT)


def test_a_slow_server_does_not_change_the_plan() -> None:
    with peers.echoes_after(UNIT / 10) as peer:
        result = run_users("arrivals.slow_server", peer.target, users=40, rate="100", lateness="")
    assert_balanced(result)
    assert result["planned"] >= 60, "the plan begins when the first user is ready"
    assert result["errors"] == {}
    assert result["dropped"] <= 5, "some tasks may wait at the end of the plan"
    assert result["times"][0] >= 1000 * UNIT / 10


def test_a_task_that_waits_for_a_user_is_measured_from_its_instant_and_dropped_when_it_is_too_late() -> None:
    """One user, replies after 0.1 s, 50 tasks a second: the n-th task waits for all earlier tasks."""
    pause = 0.1
    with peers.echoes_after(pause) as peer:
        waits = run_users("arrivals.slow_server", peer.target, users=1, rate="50", lateness="60")
        drops = run_users("arrivals.slow_server", peer.target, users=1, rate="50:0.5s,1", lateness="0.15")
    for result in (waits, drops):
        assert_balanced(result)
        assert result["errors"] == {}
        assert result["sent"] >= 5
        assert result["dropped"] >= 10, "one user cannot do all tasks within the plan"
        assert result["late"] >= result["sent"] - 2
        assert result["waiting"] == 0
    seen = waits["seen"]
    assert seen["dropped"] == 0 < seen["planned"] - seen["sent"], "waiting tasks are not dropped yet"
    assert waits["times"][-1] >= 1000 * 5 * pause, "the wait before the task counts"
    assert drops["times"][-1] <= 1000 * (0.15 + pause + UNIT)


def test_the_pause_after_a_failure_is_in_no_response_time() -> None:
    """Every second request of a connection is cut off. The user pauses for up to a second, then takes an instant."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(connection.recv(peers.CHUNK))
        connection.recv(peers.CHUNK)

    with peers.Peer(serve) as peer:
        result = run_users("arrivals.slow_server", peer.target, users=50, rate="40:4s,1", lateness="60")
    assert_balanced(result)
    failed = result["rows"]["echo"][1]
    assert failed >= 10
    assert statistics.median(result["times"]) < 1000 * UNIT / 2
    assert result["times"][-1] < 1000 * 2 * UNIT


@pytest.mark.alone
def test_the_percentiles_show_the_whole_stall_of_a_server() -> None:
    """With a stall of S in T seconds, the percentile of share p is S - (1 - p) T: the plan goes on in the stall."""
    with EchoServerProcess() as server:
        result = run_users(
            "arrivals.stall",
            server.target,
            pid=server.pid,
            seconds_in_all=2.0,
            stalled=0.6,
            users=200,
            arrival_rate="200",
        )
    assert_balanced(result)
    length = result["planned"] / 200
    for name, share in (("p80", 0.8), ("p90", 0.9)):
        assert result[name] == pytest.approx(1000 * (result["stopped"] - (1 - share) * length), rel=0.2)


def test_the_first_request_and_transaction_are_measured_from_the_instant_and_others_from_their_call() -> None:
    with peers.echoes() as peer:
        result = run_users("arrivals.beginnings", peer.target)
    assert_balanced(result)
    fastest = result["fastest"]
    for name in ("first", "outer"):
        assert fastest[name] >= 50
    for name in ("connect", "second", "later", "caught"):
        assert fastest[name] < 50


def test_a_request_after_a_task_is_not_measured_from_the_instant_of_the_task() -> None:
    with peers.echoes() as peer:
        result = run_users("arrivals.goodbye", peer.target)
    assert_balanced(result)
    assert result["bye"] < result["since_task"] / 2


def test_an_instant_goes_to_the_user_that_has_been_idle_longest() -> None:
    with peers.echoes() as peer:
        result = run_users("arrivals.idle_longest", peer.target)
    assert_balanced(result)
    order = result["order"]
    assert all(len(set(order[place : place + 4])) == 4 for place in range(len(order) - 4))


def test_an_instant_that_has_fallen_due_goes_before_the_callbacks_of_the_hub() -> None:
    with peers.echoes() as peer:
        result = run_users("arrivals.due_before_the_hub", peer.target)
    assert_balanced(result)
    assert result["order"] == ["task", "task"]


def test_instants_that_fell_due_before_a_change_of_the_plan_go_to_idle_users() -> None:
    with peers.echoes() as peer:
        result = run_users("arrivals.changed_plan", peer.target, stops=False)
    assert_balanced(result)
    assert result["waiting"] >= 20
    assert result["dropped"] == 0


def test_instants_that_fell_due_before_the_end_of_the_plan_are_counted_and_dropped() -> None:
    with peers.echoes() as peer:
        result = run_users("arrivals.changed_plan", peer.target, stops=True)
    assert_balanced(result)
    assert result["dropped"] == result["waiting"] >= 20


def test_a_task_that_never_waits_lets_other_greenlets_run() -> None:
    with peers.echoes() as peer:
        result = run_users("arrivals.never_waits", peer.target)
    assert_balanced(result)
    assert result["ticks"] >= result["done"] / 2, "other greenlets ran after at least every second task"
    assert result["dropped"] > result["sent"]


@pytest.mark.parametrize("stop_timeout", [0.0, 10 * UNIT])
def test_a_user_may_stop_the_test(stop_timeout: float) -> None:
    with peers.echoes() as peer:
        result = run_users("arrivals.stops", peer.target, stop_timeout=stop_timeout)
    assert_balanced(result)
    assert result["dropped"] <= 20
    assert (result["errors"], result["exceptions"]) == ({}, [])


def test_each_test_has_the_plan_of_its_options() -> None:
    with peers.echoes() as peer:
        first, unplanned, last = run_script("arrivals.two_tests", peer.target)
    for result in (first, last):
        assert_balanced(result)
        assert result["sent"] >= 50
    assert (unplanned["planned"], unplanned["sent"]) == (0, 0)
    assert unplanned["ok"] >= 50


def test_a_plugin_that_replaces_the_task_loop_and_a_rate_exclude_each_other() -> None:
    (message,) = run_script("arrivals.replaced_loop")
    assert message == "--tcp-arrival-rate: users cannot follow a plan: a plugin has replaced Locust's loop"


# Whole runs -------------------------------------------------------------------------------------------------------


def balanced(log: str) -> tuple[int, ...]:
    """Check that the account at the end of the log adds up; returns planned, sent, late and dropped."""
    (found,) = TASKS.findall(log)
    planned, sent, late, dropped = map(int, found)
    assert planned == sent + dropped, log
    assert late <= sent
    return planned, sent, late, dropped


def test_workers_share_the_plan_and_the_run_ends_with_its_last_stage(tmp_path: Path) -> None:
    options = ("--processes", "2", "--tcp-arrival-rate", "50:1s,200:2s", "--tcp-arrivals", "poisson", "--tcp-seed", "5")
    with EchoServerProcess() as server, LocustRun(tmp_path, *HEADLESS, *options, "--host", server.target) as run:
        assert run.wait() == 0, run.log
        assert run.family() == []
    assert "Traceback" not in run.log
    assert "tasks arrive by plan (poisson, seed 5): 50 a second for 1 s, 200 a second for 2 s; wait times" in run.log
    planned, sent, _, _ = balanced(run.log)
    assert 300 <= planned <= 500
    assert server.counters["bytes_received"] >= 1024 * (sent - 20)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)])
def test_the_account_adds_up_when_a_signal_ends_the_run(number: signal.Signals, tmp_path: Path) -> None:
    with LocustRun(tmp_path, *HEADLESS, "--tcp-arrival-rate", "500", locustfile=ECHO_USER) as run:
        run.wait_for_log(r"TCP +echo +[1-9]\d\d")
        run.process.send_signal(number)
        run.wait()
    assert balanced(run.log)[0] >= 100


@pytest.mark.long
def test_a_worker_that_joins_later_shares_the_rest_of_the_plan(tmp_path: Path) -> None:
    plan = ("--tcp-arrival-rate", "100", "--tcp-think-time", "0.01")
    (here := tmp_path / "here").mkdir()
    (there := tmp_path / "there").mkdir()
    master_only = ("--master", "--expect-workers", "1", "-t", "8")
    with (
        EchoServerProcess() as server,
        LocustRun(tmp_path, *HEADLESS, *plan, *master_only, "--host", server.target) as master,
        LocustRun(here, "--worker", master_port=master.master_port),
    ):
        master.wait_for_log(r"TCP +echo +[1-9]\d\d")
        counting = LOCUSTFILES / "counting.py"
        with LocustRun(there, "--worker", master_port=master.master_port, locustfile=counting) as later:
            assert master.wait() == 0, master.log
            assert later.wait() == 0, later.log
    (fired,) = later.fired()
    assert fired["ok"] >= 50
    planned, sent, _, _ = balanced(master.log)
    assert 600 <= planned <= 820
    assert server.counters["bytes_received"] <= 1024 * sent, "no user does a task outside the plan"
    assert "had no user" not in master.log


def test_the_web_ui_changes_the_rate_of_a_running_test_and_cannot_remove_it(tmp_path: Path) -> None:
    with LocustRun(tmp_path, "--tcp-arrival-rate", "10") as run:
        run.wait_for_ui()
        form = {"user_count": 10, "spawn_rate": 10, "host": run.server_target()}
        wrong = run.swarm(**form, tcp_arrival_rate="10:")
        assert (wrong["success"], wrong["message"]) == (
            False, "--tcp-arrival-rate: '' is not a duration; write it like 30s, 5m or 1h30m",
        )  # fmt: skip
        assert run.swarm(**form, tcp_seed="-1")["message"].startswith("--tcp-seed: '-1' is not a whole number")
        assert run.swarm(**form, tcp_arrival_rate="10")["success"]
        run.wait_for_log("All users spawned")
        refused = run.swarm(**form, tcp_arrival_rate="")
        assert refused["message"].startswith("--tcp-arrival-rate: stop the test first"), refused
        assert run.swarm(**form, tcp_arrival_rate="400")["success"]
        run.wait_for_log(r"tasks arrive by plan \(even, seed \d+\): 400 a second; wait times are not used\n")
        assert run.log.count("tasks arrive by plan ") == 2
        run.stop()
        run.process.send_signal(signal.SIGTERM)
        run.wait()
    assert "Traceback" not in run.log
