"""The result of whole runs: its file, its table, its verdict and the exit code."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, peers
from tests.support.locust_process import ECHO_USER, LOCUSTFILES, EchoServerProcess, LocustRun
from tests.support.locust_script import run_script
from tests.support.timing import SCALE, wait_until

HEADLESS = ("--headless", "-u", "20", "-r", "20")
RATE = ("--tcp-arrival-rate", "100:2s,200")
TIMES = {"response_us", "service_us", "generator_delay_us", "read_delay_us", "first_byte_us", "offered_us"}


def read(path: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def row_of(rows: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (found,) = [row for row in rows if row["name"] == name]
    return found


def parts_of(result: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The rows of the warm-up and of the measured part."""
    return [result["rows"], *([result["warm_up"]["rows"]] if result["warm_up"] else [])]


def total(result: dict[str, Any], kind: str, number: str) -> int:
    """The sum of a number over the rows of all parts: the rows of tasks, or all other rows."""
    return sum(row[number] for rows in parts_of(result) for row in rows if (row["type"] == "TASK") == (kind == "TASK"))


def assert_adds_up(result: dict[str, Any]) -> None:
    """Check that the rows, the account and the workers agree."""
    account = result["account"]
    assert account["started"] == account["ok"] + account["failed"] + account["aborted"]
    assert account["planned"] == account["sent"] + account["dropped"]
    assert total(result, "TCP", "ok") == account["ok"]
    assert total(result, "TCP", "failed") == account["failed"]
    ended = total(result, "TASK", "ok") + total(result, "TASK", "failed")
    assert account["sent"] - 20 <= ended <= account["sent"], "each user may be in a task at the end"
    assert total(result, "TASK", "dropped") == account["dropped"]
    measured = sum(row["ok"] for row in result["rows"] if row["type"] != "TASK")
    assert sum(worker["ok"] for worker in result["workers"]) == measured
    for rows in parts_of(result):
        for row in rows:
            assert row["intervals"]["method"] in ("bootstrap", "order statistics")


def assert_first_stage(result: dict[str, Any], start: float, seconds: float) -> None:
    """Check that the stage of 100 tasks a second has no task of the next stage, whenever the test began."""
    first, second = result["stages"]
    assert (first["start_s"], first["duration_s"], second["start_s"]) == (start, seconds, 2.0)
    assert (first["rate"]["planned"], second["rate"]["planned"]) == (100.0, 200.0)
    assert 70 <= first["rate"]["achieved"] <= 115, "the plan begins when the first user is ready; some replies are late"
    measured, *stages = (
        sum(row["ok"] for row in part["rows"] if row["type"] != "TASK") for part in (result, first, second)
    )
    assert sum(stages) == measured
    assert first["duration_s"] + second["duration_s"] == pytest.approx(result["duration_s"], abs=0.01)


# Every key --------------------------------------------------------------------------------------------------------


def keys_of(value: Any, at: str = "") -> set[str]:
    """The paths of all keys, as docs/reference/result-schema.md writes them."""
    if isinstance(value, list):
        return set().union(*(keys_of(inner, f"{at}[]") for inner in value)) if value else set()
    if not isinstance(value, dict) or at.endswith((".missing", ".failed_times")):
        return set()
    if "p50" in value:
        percentile = {key for inner in value.values() if isinstance(inner, dict) for key in inner}
        return set(value) | {f"….{key}" for key in percentile}
    if "deviation" in value:
        return {f"….{key}" for key in value}
    found: set[str] = set()
    for key, inner in value.items():
        place = f"{at}.{key}".removeprefix(".")
        shared = key if key in ("rows", "verdict") and at != "series" else place  # these have the same keys everywhere
        found |= {place} | keys_of(inner, shared)
    return found


def test_the_documentation_names_each_key_of_a_real_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    options = (*HEADLESS, *RATE, "-t", "3", "--tcp-warm-up", "1", "--tcp-json", str(path))
    with LocustRun(tmp_path, *options, locustfile=ECHO_USER) as run:
        assert run.wait() == 0, run.log
    assert "Traceback" not in run.log
    result = read(path)
    found = keys_of(result)
    page = (ROOT / "docs" / "reference" / "result-schema.md").read_text()
    tables = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    documented = {key for cell in tables for key in re.findall(r"`([^`]+)`", cell)}
    assert found - documented == set()
    assert all(key.startswith(("failures[].", "gates[].", "server_account.")) for key in documented - found)

    assert_adds_up(result)
    assert (result["schema"], result["warm_up"]["duration_s"]) == (1, 1.0)
    assert result["command"]["arrival_rate"] == "100:2s,200"
    assert_first_stage(result, start=1.0, seconds=1.0)
    (worker,) = result["workers"]
    assert worker["id"] == "local"
    echo = row_of(result["rows"], "echo")
    assert echo["rate"] == pytest.approx(echo["ok"] / result["duration_s"], rel=0.001)
    assert echo.keys() >= TIMES
    # The log has the same figures.
    printed = run.log[run.log.index(": the result:\n") :]
    assert f"TCP echo: {echo['ok']} ok, 0 failed" in printed
    table = printed[printed.index("\nms ") : printed.index("verdict: ")].splitlines()
    assert max(map(len, table)) <= 80
    assert f"verdict: {result['verdict']['status']}" in printed


# How runs end -----------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_the_result_of_two_workers_is_complete_when_a_signal_ends_the_run(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    options = (*HEADLESS, *RATE, "--processes", "2", "--tcp-json", str(path))
    with EchoServerProcess() as server, LocustRun(tmp_path, *options, "--host", server.target) as run:
        run.wait_for_log(r"TCP +echo +([4-9]\d\d|\d{4})")  # in the second stage
        assert not path.exists()
        run.process.send_signal(signal.SIGTERM)
        run.wait()
    result = read(path)
    assert_adds_up(result)
    assert_first_stage(result, start=0.0, seconds=2.0)
    assert result["target"] == server.target
    assert sum(fired["ok"] for fired in run.fired()) == result["account"]["ok"] == run.counted()["requests"]
    assert len(result["workers"]) == 2
    assert result["verdict"]["status"] != "incomplete"


def test_an_unfinished_warm_up_fails_on_the_verdict_even_if_the_file_cannot_be_written(tmp_path: Path) -> None:
    (gone := tmp_path / "gone").mkdir()
    options = (*HEADLESS, "--tcp-warm-up", "1m", "--tcp-json", str(gone / "r.json"), "--tcp-fail-on-verdict")
    with LocustRun(tmp_path, *options, "--tcp-think-time", "0.1") as run:
        run.wait_for_log("All users spawned")
        shutil.rmtree(gone)
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 5, run.log
    assert "Traceback" not in run.log
    assert run.log.count(f"cannot write the result {gone / 'r.json'}: No such file or directory\n") == 1
    assert re.search(
        r"verdict: too-few-samples\n  the measured part lasted 0 s: .*\n"
        r"  the warm-up of 60 s was not over: measure longer\n",
        run.log,
    )
    assert "p99.9" not in run.log, "no table without rows"


def test_the_verdict_decides_the_exit_code_before_failed_operations_and_failures_have_a_kind(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    options = (*HEADLESS, "-t", "2", "--tcp-json", str(path), "--tcp-think-time", "0.1")
    extra = {"GEVENTECHO_LOADTEST_FAIL_ON_VERDICT": "true"}
    locustfile = LOCUSTFILES / "plain_beside.py"
    with peers.refuses() as target, LocustRun(
        tmp_path, *options, "--host", target, locustfile=locustfile, extra=extra
    ) as run:  # fmt: skip
        assert run.wait() == 5, run.log
    result = read(path)
    assert_adds_up(result)
    assert [(found["type"], found["name"], found["kind"]) for found in result["failures"]] == [
        ("TCP", "connect", "refused")
    ]
    assert target.removeprefix("tcp://") in result["failures"][0]["sample"]
    assert result["failures"][0]["count"] == result["account"]["failed"] == row_of(result["rows"], "connect")["failed"]
    assert row_of(result["rows"], "connect")["failed_times"]["response_us"]["max"] > 0
    assert result["account"]["reconnects"] == result["account"]["connects"] - 19
    assert result["other_users"].endswith("other user classes of this run: Plain")
    assert {row["type"] for row in result["rows"]} == {"TCP"}
    assert result["stages"] == []


@pytest.mark.parametrize(
    ("path", "reason", "mode"),
    [
        ("missing/r.json", "No such file or directory", ("--headless", "-t", "1")),
        pytest.param("", "it is not a file", (), marks=pytest.mark.long),
    ],
)
def test_a_path_that_cannot_be_written_is_a_usage_error(
    path: str, reason: str, mode: tuple[str, ...], tmp_path: Path
) -> None:
    with LocustRun(tmp_path, *mode, "--host", "127.0.0.1:1", "--tcp-json", str(tmp_path / path)) as run:
        assert run.wait() == 2, run.log
    assert run.log.splitlines()[-1] == (
        f"geventecho.loadtest: error: --tcp-json: cannot write {str(tmp_path / path).rstrip('/')!r}: {reason}"
    )
    assert "Traceback" not in run.log


@pytest.mark.parametrize(("command", "words"), [("geventecho load 'a b'", ["geventecho", "load", "a b"]), ("'", [])])
def test_the_typed_command_is_removed_from_the_environment_of_child_processes(command: str, words: list[str]) -> None:
    assert run_script("results.typed", command) == [words, False]


def test_two_files_with_the_same_path_are_a_usage_error(tmp_path: Path) -> None:
    path = tmp_path / "same"
    (link := tmp_path / "link").symlink_to(path)
    message = run_script("results.files_error", {"tcp_json": str(path), "tcp_csv": str(path), "tcp_report": str(link)})
    assert message == f"--tcp-json and --tcp-report: both would write {str(link)!r}; give each its own path"


@pytest.mark.long
def test_each_stage_of_a_shape_has_its_figures(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    options = ("--headless", "--processes", "2", "--tcp-json", str(path), "--tcp-think-time", "0.05")
    with LocustRun(tmp_path, *options, "--tcp-warm-up", "2", locustfile=LOCUSTFILES / "steps.py") as run:
        assert run.wait(120 * SCALE) == 0, run.log
    result = read(path)
    assert_adds_up(result)
    assert [(stage["users"], stage["rate"]) for stage in result["stages"]] == [(4, None), (12, None)]
    # The second in which the first stage ends and the next begins belongs to neither.
    assert sum(stage["duration_s"] for stage in result["stages"]) <= result["duration_s"] - 1
    few, many = (row_of(stage["rows"], "echo") for stage in result["stages"])
    assert many["rate"] > 2 * few["rate"]
    assert result["command"]["shape_class"] == "Steps"


# The web UI -------------------------------------------------------------------------------------------------------


def has_echoes(run: LocustRun, after_reset: bool = False) -> bool:
    """Whether the measured part of the running test has echoes. Locust's own statistics may be two seconds old."""
    live = json.loads(run.request("/tcp/live.json")[1])
    if live["state"] != "running" or (live.get("warm_up") is not None) != after_reset:
        return False
    return any(row["name"] == "echo" and row["ok"] for row in live.get("rows", ()))


def test_each_test_of_the_web_ui_writes_its_result_and_a_reset_restarts_the_measured_part(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with LocustRun(tmp_path, "--tcp-json", str(path), "--tcp-think-time", "0.05") as run:
        run.wait_for_ui()
        form = {"user_count": 5, "spawn_rate": 5, "host": run.server_target()}
        assert run.request("/swarm", {**form, "tcp_json": str(tmp_path / "other.json")})[0] == 400  # type: ignore[dict-item]
        assert '"tcp_warm_up"' in run.request("/")[1]
        assert run.swarm(**form, tcp_warm_up="-1")["message"].startswith("--tcp-warm-up: '-1' is not a duration")
        assert run.swarm(**form)["success"]
        wait_until(lambda: has_echoes(run), 20 * SCALE, "echoes")
        # Up to Locust 2.46 the reset is a GET.
        assert 200 in (run.request("/stats/reset", {})[0], run.request("/stats/reset")[0])
        wait_until(lambda: has_echoes(run, after_reset=True), 20 * SCALE, "echoes after the reset")
        run.stop()
        wait_until(path.exists, 20 * SCALE, "the first result")
        first = read(path)
        assert run.swarm(**form, tcp_think_time="0.1")["success"]
        wait_until(lambda: has_echoes(run), 20 * SCALE, "echoes")
        run.stop()
        wait_until(lambda: read(path) != first, 20 * SCALE, "the second result")
        second = read(path)
        run.process.send_signal(signal.SIGTERM)
        run.wait()
    assert read(path) == second, "the end of the process writes no other result"
    assert_adds_up(first)
    assert_adds_up(second)
    assert row_of(first["warm_up"]["rows"], "connect")["ok"] == 5, "the users connected before the reset"
    assert second["warm_up"] is None
    assert min(row_of(result["rows"], "echo")["ok"] for result in (first, second)) > 0
    assert (first["command"]["think_time"], second["command"]["think_time"]) == (0.05, 0.1)
    assert second["started_at"] > first["started_at"]
    assert not (tmp_path / "other.json").exists()
    assert "Traceback" not in run.log
    assert run.log.count("verdict: ") == 2, "each test has one verdict"


# In one process ---------------------------------------------------------------------------------------------------


def test_dropped_instants_and_failed_tasks_are_in_the_rows_of_their_classes() -> None:
    with peers.echoes_after(0.05) as peer:
        result = run_script("results.two_classes", peer.target)
    assert result["planned"] == result["sent"] + result["dropped"]
    assert sum(ok + failed + dropped for ok, failed, dropped in result["tasks"].values()) == result["planned"]
    (good, bad) = (result["tasks"][name] for name in ("Good", "Bad"))
    assert (good[1], bad[0]) == (0, 0), "one class succeeds and the other fails"
    assert min(good[0], bad[1], good[2], bad[2]) > 0
    assert result["types"] == ["TCP"], "tasks are not in Locust's table"
    assert result["offered"] == "lost"


def test_a_nested_task_set_and_an_empty_one_are_one_task_for_each_instant() -> None:
    with peers.echoes() as peer:
        result = run_script("results.nested", peer.target)
    assert result["sent"] == result["ok"] + result["failed"]
    assert result["failed"] == 0
    assert result["ok"] >= 30


def test_a_shape_has_its_stages() -> None:
    with peers.echoes() as peer:
        stages = run_script("results.shape", peer.target)
    assert [users for users, _ in stages] == [2, 4]
    assert all(ok > 0 for _, ok in stages)


def test_reset_stats_restarts_the_measured_part_when_all_users_run() -> None:
    with peers.echoes() as peer:
        result = run_script("results.reset_stats", peer.target)
    assert result["connect"] == [3, 0], "in the warm-up and in the measured part"
    assert result["echo"][1] > 0


def test_the_seconds_of_a_worker_are_moved_if_its_clock_is_far_from_the_masters() -> None:
    with peers.echoes() as peer:
        assert run_script("results.clocks", peer.target) == {"day": 2, "moment": 0}


def test_the_last_report_of_a_worker_waits_for_the_report_before_it() -> None:
    assert run_script("results.two_reports") == [["first", 3], ["last", 0]]


def test_without_a_test_or_install_there_is_no_result() -> None:
    messages = run_script("results.errors_without_a_result")
    assert messages == [
        "there is no result here: call install(environment) first, on the master if there are workers",
        "there is no result: no test has been started",
    ]


def test_a_running_test_has_a_result() -> None:
    with peers.echoes() as peer:
        during, after = run_script("results.while_running", peer.target)
    assert 0 < during["ok"] < after["ok"]
    assert 0 < during["duration_s"] < after["duration_s"]


def test_the_waiting_tasks_of_a_lost_worker_count_as_dropped_and_other_waiting_tasks_do_not() -> None:
    found = run_script("results.sums_without", "b")
    assert found == {"open": 1, "opening": 1, "planned": 99, "sent": 44, "dropped": 54, "waiting": 1, "ok": 0}
