"""A load test over several machines: each worker in a network namespace of its own, with a link that can be cut.

In the last test all processes are on this machine, on addresses of their own, and a browser shows the pages.
"""

from __future__ import annotations

import contextlib
import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.loadtest.test_gates import FILES, assert_files, file_options
from tests.support.chromium import chromium, complaints_of
from tests.support.isolation import CAN_ISOLATE, isolate
from tests.support.locust_process import ECHO_USER, LOCUSTFILES, EchoServerProcess, LocustRun
from tests.support.missing import skip
from tests.support.timing import PATIENCE, SCALE

Found = dict[str, Any]
LIMIT = 5.0
"""Seconds within which a loss is shown."""


def run(scenario: str, directory: Path, *options: str) -> Found:
    """Run a scenario of tests/support/distributing.py; returns its findings. No process may print a traceback."""
    if not CAN_ISOLATE:
        skip("no network namespace can be made here")
    found: Found = json.loads(isolate("distributing", scenario, str(directory), *file_options(directory), *options))
    for log in logs(directory):
        assert "Traceback" not in log, log
    return found


def logs(directory: Path) -> list[str]:
    """The logs of the master and of the workers, in the order of their starts."""
    return [path.read_text() for path in (directory / "locust.log", *sorted(directory.glob("worker*/locust.log")))]


def assert_outputs(directory: Path, missed: int) -> Found:
    """Check that all outputs of the master agree; returns the result of the last test.

    Args:
        directory: of the master.
        missed: the number of failures in the JUnit file.
    """
    log = logs(directory)[0]
    result = assert_files(directory, log, missed)
    report = (directory / FILES["report"]).read_text()
    (embedded,) = re.findall(r'<script type="application/json" id="result">(.*)</script>', report)
    assert json.loads(embedded) == result
    unwrapped = " ".join(log.split())
    assert f"verdict: {result['verdict']['status']}" in unwrapped
    for reason in result["verdict"]["reasons"]:
        assert reason in unwrapped
    for row in result["rows"]:
        assert re.search(rf"TCP {row['name']}\b.*\b{row['ok']}\b", log), (row["name"], row["ok"])
    assert sum(row["ok"] for row in result["rows"]) == result["account"]["ok"]
    for name in ("ok", "failed"):
        assert sum(worker[name] for worker in result["workers"]) == result["account"][name]
    return result


def test_two_workers_on_machines_of_their_own_are_one_test(tmp_path: Path) -> None:
    found = run("merged", tmp_path, "--tcp-gate", "echo p50 < 5s", "--tcp-gate", "'no row' p50 < 5s")
    assert found["codes"] == [4, 0, 0], logs(tmp_path)
    result = assert_outputs(tmp_path, missed=1)
    account, counters = result["account"], found["counters"]
    # Even with a stop timeout, Locust may stop a user that has just begun its next task.
    assert account["started"] - 1 <= account["ok"] == account["started"] - account["aborted"]
    assert account["ok"] > 100
    assert [worker["users"] for worker in result["workers"]] == [5, 5]
    assert all(worker["ok"] > 50 for worker in result["workers"])
    carried = 1024 * (account["ok"] - account["connects"])
    for found_bytes in (
        result["bytes_sent"], result["bytes_received"], counters["bytes_received"], counters["bytes_sent"]
    ):  # fmt: skip
        assert carried <= found_bytes <= carried + 1024 * account["aborted"]
    assert counters["accepted"] == result["connections"]["connects"] == 10


def assert_shown(found: Found, lost: str) -> None:
    """Check that page, tab and download agree, and name the worker of the machine `lost`; "" stands for no loss."""
    result = found["download"]
    assert {key: found["live"][key] for key in result if key != "series"} == {
        key: value for key, value in result.items() if key != "series"
    }
    status, named = result["verdict"]["status"], f"worker . \\({lost}_"
    assert found["tab"][1].split()[1].rstrip(";") == status
    if lost:
        assert status == "incomplete"
        assert re.match(named, result["verdict"]["reasons"][0])
        assert any(re.match(f"verdict reason {named}", line) for line in found["tab"])
    else:
        assert status != "incomplete"
    incomplete = [worker for worker in result["workers"] if worker["verdict"]["status"] == "incomplete"]
    assert [worker["id"].startswith(f"{lost}_") for worker in incomplete] == ([True] if lost else [])


@pytest.mark.long
@pytest.mark.parametrize(("scenario", "code"), [("killed", -9), ("cut_off", 6)])
def test_a_lost_worker_is_named_in_every_output(scenario: str, code: int, tmp_path: Path) -> None:
    """The other worker goes on. A worker that is cut off ends by itself, and its log gives the reason."""
    found = run(scenario, tmp_path)
    assert found["codes"] == [6, code, 0], logs(tmp_path)
    assert found["page_s"] < LIMIT * SCALE
    assert found["tab_s"] < LIMIT * SCALE
    assert_shown(found, "machine1")
    result = assert_outputs(tmp_path, missed=1)
    assert result == found["download"]
    master, lost, other = logs(tmp_path)
    *_, reason, report = master.rstrip().splitlines()
    assert re.search(r"incomplete: worker \d \(machine1_\S+\) was lost: no heartbeat\.", reason)
    assert report.startswith("report: ")
    assert ("the master is gone: no heartbeat for" in lost) == (scenario == "cut_off")
    assert "ERROR" not in other
    assert found["counters"]["bytes_received"] >= result["bytes_sent"] > 0
    assert result["connections"]["open"] == 0


@pytest.mark.long
def test_a_worker_that_was_cut_off_for_seconds_loses_no_result(tmp_path: Path) -> None:
    found = run("back", tmp_path)
    assert found["codes"] == [0, 0, 0], logs(tmp_path)
    assert_shown(found, "")
    result = assert_outputs(tmp_path, missed=0)
    assert [worker["users"] for worker in result["workers"]] == [5, 5]
    assert result["bytes_sent"] <= found["counters"]["bytes_received"]
    assert result["connections"]["connects"] == found["counters"]["accepted"] == 10, "the connections were kept"


@pytest.mark.long
def test_a_worker_that_replaces_a_lost_worker_gets_its_users(tmp_path: Path) -> None:
    """The test stays incomplete, and the next test is complete."""
    found = run("replaced", tmp_path)
    assert found["codes"] == [0, -9, 0, 0], logs(tmp_path)
    assert_shown(found, "machine1")
    assert [worker["users"] for worker in found["download"]["workers"]] == [5, 5, 5]
    assert_shown(found["next"], "")
    result = assert_outputs(tmp_path, missed=0)
    assert result == found["next"]["download"]
    assert [worker["users"] for worker in result["workers"]] == [3, 3]


@pytest.mark.long
def test_a_worker_that_sigterm_ends_loses_no_result(tmp_path: Path) -> None:
    """Its users go to the other worker."""
    found = run("left", tmp_path)
    assert found["codes"] == [0, 0, 0], logs(tmp_path)
    assert_shown(found, "")
    result = assert_outputs(tmp_path, missed=0)
    assert sorted(worker["users"] for worker in result["workers"]) == [5, 10]
    assert result["connections"]["connects"] == found["counters"]["accepted"] == 15


@pytest.mark.long
def test_each_test_of_the_web_ui_is_complete(tmp_path: Path) -> None:
    found = run("tests_of_the_web_ui", tmp_path)
    assert found["codes"] == [0, 0, 0], logs(tmp_path)
    for test, users in (("first", 10), ("second", 8)):
        assert_shown(found[test], "")
        assert len(found[test]["download"]["workers"]) == 2
        assert found[test]["download"]["connections"]["connects"] == users
    assert assert_outputs(tmp_path, missed=0) == found["second"]["download"]
    assert found["counters"]["accepted"] == 18


@pytest.mark.long
def test_clocks_an_hour_ahead_of_the_master_and_an_hour_behind_it_change_no_figure(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    skewed = LOCUSTFILES / "skewed.py"
    with contextlib.ExitStack() as stack:
        target = stack.enter_context(EchoServerProcess()).target
        load = ["-u", "10", "-r", "10", "-t", "3", "--tcp-arrival-rate", "200:1m,1", "--tcp-json", str(path)]
        arguments = ["--master", "--headless", "--expect-workers", "2", "--host", target, *load]
        master = stack.enter_context(LocustRun(tmp_path, *arguments, locustfile=skewed))
        for skew in ("3600", "-3600"):
            (there := tmp_path / f"worker{skew}").mkdir()
            worker = LocustRun(
                there, "--worker", master_port=master.master_port, locustfile=skewed, extra={"SKEW": skew}
            )
            stack.enter_context(worker)
        assert master.wait() == 0, master.log
    result = json.loads(path.read_text())
    account = result["account"]
    assert account["planned"] == account["sent"] + account["dropped"]
    assert 400 < account["planned"] < 1000, "200 a second"
    assert len(result["workers"]) == 2
    assert all(worker["ok"] > 100 for worker in result["workers"])
    assert len(result["series"]["at_s"]) < 7
    ends = [result["series"]["run"][name][-1] for name in ("users", "open")]
    assert ends == [10, 10], "the last second has the users and connections of both workers"
    assert result["duration_s"] < 3 + 3 * SCALE


@pytest.mark.long
@pytest.mark.browser
def test_the_tab_and_the_page_name_a_killed_worker_within_five_seconds(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        browser = stack.enter_context(chromium())
        target = stack.enter_context(EchoServerProcess("127.0.0.3")).target
        arguments = ["--master", "--master-bind-host", "127.0.0.2", "--host", target, *file_options(tmp_path)]
        master = stack.enter_context(LocustRun(tmp_path, *arguments, locustfile=ECHO_USER))
        workers = []
        for index in range(2):
            (there := tmp_path / f"worker{index}").mkdir()
            arguments = ["--worker", "--master-host", "127.0.0.2"]
            worker = LocustRun(there, *arguments, master_port=master.master_port, locustfile=ECHO_USER)
            workers.append(stack.enter_context(worker))
        master.wait_for_ui()
        master.wait_for_log("2 workers connected")
        assert master.swarm(user_count=10, spawn_rate=10)["success"]
        pages = [browser.new_page(viewport={"width": 1400, "height": 900}) for _ in range(2)]
        complaints = [complaints_of(page) for page in pages]
        for page, path in zip(pages, ("", "tcp"), strict=True):
            page.goto(f"http://127.0.0.1:{master.port}/{path}")
        pages[0].get_by_role("tab", name="TCP").click()
        for page in pages:
            page.get_by_text("TCP echo").first.wait_for()
            assert "incomplete" not in page.inner_text("body")
        workers[0].process.kill()
        killed = time.monotonic()
        for page in pages:
            page.get_by_text(re.compile(r"worker [01] \(\S+\): was lost: no heartbeat")).first.wait_for()
            assert "incomplete" in page.inner_text("body")
            assert time.monotonic() - killed < LIMIT * SCALE
        master.stop()
        for page in pages:
            page.get_by_text("stopped").first.wait_for(timeout=2000 * PATIENCE)
            assert "incomplete" in page.inner_text("body")
        assert complaints == [[], []]
        master.process.send_signal(signal.SIGTERM)
        assert (master.wait(), workers[1].wait()) == (6, 0), logs(tmp_path)
    assert assert_outputs(tmp_path, missed=1)["verdict"]["status"] == "incomplete"
    assert not any("Traceback" in log for log in logs(tmp_path))
