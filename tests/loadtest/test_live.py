"""The figures of a running test, and the process that makes them."""

from __future__ import annotations

import json
import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from tests.support import peers
from tests.support.locust_process import LOCUSTFILES, LocustRun
from tests.support.locust_script import run_script
from tests.support.timing import PATIENCE, SCALE, wait_until

OPTIONS = ("--headless", "-u", "10", "-r", "10", "--tcp-think-time", "0.05")
LIVE = LOCUSTFILES / "live.py"


def seen(folder: Path) -> dict[str, Any]:
    """The result that the page would show now."""
    path = folder / "live.json"
    found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"state": "none"}
    return found


def has_more(folder: Path, ok: int) -> bool:
    return bool(seen(folder)["account"]["ok"] > ok)


def process_of(run: LocustRun) -> psutil.Process:
    (found,) = [child for child in run.family() if "geventecho.results.live" in child.cmdline()]
    return found


def test_two_tests_one_after_the_other_leave_no_process_and_no_descriptor() -> None:
    with peers.echoes() as peer:
        found = run_script("live.two_tests", peer.target)
    assert found["before"] == {"schema": 1, "state": "ready", "elapsed_s": None, "left_s": None}
    assert found["none"] is None
    states = [state for state in found["states"] if state not in ("ready", "starting")]  # they may be too short
    assert states == ["running", "stopped"] * 2
    running, brief = found["seen"], found["brief"]
    assert 0 < running["elapsed_s"] < 30 * SCALE
    assert abs(running["elapsed_s"] + running["left_s"] - 60) < 0.2
    assert running["account"]["ok"] > 0
    assert (running["connections"]["open"], running["connections"]["connects"]) == (3, 3)
    assert running["series"]["run"]["open"][-1] == 3
    assert {row["name"] for row in running["series"]["rows"]} == {"connect", "echo"}
    assert [row["name"] for row in found["one"]] == ["echo"]
    assert running.keys() - brief.keys() == {"warm_up", "stages", "series"}
    assert running["rows"][0].keys() - brief["rows"][0].keys() == {"distributions"}
    assert found["same"], "after the test the live result is the final result"
    assert found["nice"] == [min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)]
    assert found["left"] == [0, 0], "no process and no descriptor"


def test_a_process_that_does_not_read_is_ended_and_blocks_no_caller() -> None:
    found = run_script("live.stopped", 1_000_000)
    assert found["answered"]
    assert 100 <= found["told"] < 200, "the messages that the pipe and the queue hold"
    assert found["passed"]
    assert found["left"] == 0


def test_a_process_that_stands_still_or_is_killed_leaves_no_old_figures() -> None:
    with peers.echoes() as peer:
        found = run_script("live.stands_still", peer.target)
    (still, still_error), (killed, killed_error) = found.pop("still"), found.pop("killed")
    assert (still, killed) == ("running", "running")
    maker = "The process that makes the figures of the running test"
    assert still_error.startswith(f"TimeoutError: {maker} has not answered for ")
    assert killed_error.startswith(f"EOFError: {maker} has ended: ")
    assert found.pop("lost") == ["worker 1 was lost"], "the verdict names the worker before the next answer"
    assert found.pop("warnings") == 1
    assert found == {"before": ["running", ""], "again": ["running"], "after": ["stopped", ""]}


def test_a_process_can_be_ended_before_it_has_started() -> None:
    assert run_script("live.ended_before_the_start") == [0]


def test_ctrl_c_does_not_end_the_process_and_its_kill_causes_one_warning(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    with LocustRun(tmp_path, *OPTIONS, "--tcp-json", str(path), locustfile=LIVE) as run:
        wait_until(lambda: seen(tmp_path)["state"] == "running", 30 * SCALE, "live figures")
        process = process_of(run)
        process.send_signal(signal.SIGINT)
        for _ in range(2):  # the process may have made the first result before the signal
            before = seen(tmp_path)["account"]["ok"]
            wait_until(partial(has_more, tmp_path, before), PATIENCE, "a new result after Ctrl-C")
        process.kill()
        run.wait_for_log("there are no more live figures")
        wait_until(lambda: "verdict" not in seen(tmp_path), PATIENCE, "no old figures")
        assert seen(tmp_path)["state"] == "running"
        assert not process.is_running(), "it is not a zombie either"
        run.signal_group(signal.SIGINT)
        assert run.wait() == 0, run.log
        assert run.family() == []
    assert run.log.count("there are no more live figures") == 1
    assert "Traceback" not in run.log
    result = json.loads(path.read_text())
    assert result["account"]["ok"] == sum(row["ok"] for row in result["rows"]) > before
    assert result["connections"]["open"] == 0


def test_the_process_ends_with_a_killed_load_test(tmp_path: Path) -> None:
    with peers.echoes() as peer, LocustRun(tmp_path, *OPTIONS, "--host", peer.target, locustfile=LIVE) as run:
        wait_until(lambda: seen(tmp_path)["state"] == "running", 30 * SCALE, "live figures")
        process = process_of(run)
        run.process.kill()
        wait_until(lambda: not process.is_running(), PATIENCE, "the end of the process")


def test_a_killed_worker_is_named_within_five_seconds(tmp_path: Path) -> None:
    with peers.echoes() as peer, LocustRun(
        tmp_path, *OPTIONS, "--host", peer.target, "--processes", "2", locustfile=LIVE
    ) as run:  # fmt: skip
        wait_until(lambda: len(seen(tmp_path).get("workers", ())) == 2, 30 * SCALE, "both workers")
        assert seen(tmp_path)["verdict"]["status"] != "incomplete"
        run.workers()[0].kill()
        killed = time.monotonic()
        wait_until(lambda: seen(tmp_path)["verdict"]["status"] == "incomplete", 20 * SCALE, "the verdict")
        passed = time.monotonic() - killed

        def named() -> bool:
            return any(worker["verdict"]["status"] == "incomplete" for worker in seen(tmp_path)["workers"])

        wait_until(named, PATIENCE, "the next result, with the worker's verdict too")
        found = seen(tmp_path)
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 6, run.log
    (lost,) = [worker for worker in found["workers"] if worker["verdict"]["status"] == "incomplete"]
    assert f"({lost['id']}): was lost: no heartbeat" in found["verdict"]["reasons"][0]
    assert found["connections"]["open"] == 5, "the connections of the lost worker are left out"
    assert passed < 5 * SCALE
