"""Gates and files of whole runs: exit codes, the lines at the end, and files that agree."""

from __future__ import annotations

import csv
import json
import re
import signal
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.support import peers
from tests.support.locust_process import LOCUSTFILES, LocustRun
from tests.support.locust_script import run_script
from tests.support.timing import SCALE, wait_until

FIVE_ECHOES = 5 * 1024
FILES = {"json": "r.json", "report": "r.html", "csv": "r", "junit": "r.xml", "hgrm": "made/hgrm"}
CSV = {"r_rows.csv", "r_series.csv", "r_failures.csv"}


def file_options(directory: Path) -> list[str]:
    return [word for name, file in FILES.items() for word in (f"--tcp-{name}", str(directory / file))]


def lines_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


# Exit codes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gates", "options", "code"),
    [
        (["failures < 99%"], {}, 0),
        (["failures < 99%", "get p99 < 1s"], {"fail_on_verdict": True}, 4),
        (["failures < 99%"], {"fail_on_verdict": True}, 5),
        # None: Locust exits with 1, because operations failed.
        (["echo rate > 0/s"], {}, None),
        (["connect failures < 99%"], {}, None),
        (["failures < 99%"], {"mistake": "task"}, None),
        (["failures < 99%"], {"mistake": "greenlet"}, None),
        (["failures < 99%"], {"mistake": "caught", "arrival_rate": "200"}, None),
        (["failures < 99%"], {"arrival_rate": "200"}, 0),
        (["failures < 99%"], {"json": "/missing/r.json"}, 1),
    ],
)
def test_with_a_gate_on_failures_failed_operations_alone_do_not_fail_the_run(
    gates: list[str], options: dict[str, Any], code: int | None
) -> None:
    with peers.closes_after(FIVE_ECHOES) as peer:
        found = run_script("gates.exit_code", peer.target, *gates, **options)
    assert found["failed"] > 0
    assert found["code"] == code, found["reasons"]


@pytest.mark.parametrize(
    ("options", "extra", "error"),
    [
        (
            ["--tcp-gate", "failures < 1%", "--tcp-gate", "echo p98 < 5ms"],
            {},
            "max, failures or rate\n  echo p98 < 5ms\n       ^\n",
        ),
        pytest.param(
            [],
            {"GEVENTECHO_LOADTEST_GATES": "failures < 1%\nrate > 900"},
            "argument --tcp-gate: a rate has the unit /s or /min, as in 900/s\n  rate > 900\n            ^\n",
            marks=pytest.mark.long,
        ),
        pytest.param(["--tcp-csv", "missing/r"], {}, "--tcp-csv: cannot write '", marks=pytest.mark.long),
        (
            ["--tcp-hgrm", "/dev/null/x"],
            {},
            "--tcp-hgrm: cannot make the directory '/dev/null/x': Not a directory",
        ),
    ],
    ids=["option", "environment", "csv", "hgrm"],
)
def test_a_malformed_gate_and_a_path_that_cannot_be_written_end_the_run_before_it_begins(
    options: list[str], extra: dict[str, str], error: str, tmp_path: Path
) -> None:
    headless = ("--headless", "-t", "1", "--host", "127.0.0.1:1")
    with LocustRun(tmp_path, *headless, *options, extra=extra) as run:
        assert run.wait() == 2, run.log
    assert error in run.log
    assert "Traceback" not in run.log
    assert "Ramping" not in run.log


@pytest.mark.long
def test_gates_without_a_tcp_user_are_a_usage_error(tmp_path: Path) -> None:
    options = ("--headless", "-t", "1", "--tcp-gate", "failures < 1%")
    with LocustRun(tmp_path, *options, locustfile=LOCUSTFILES / "plain_user.py") as run:
        assert run.wait() == 2, run.log
    assert "error: --tcp-gate: there is no result to judge, because no user class is a TcpUser\n" in run.log


# Files and lines --------------------------------------------------------------------------------------------------


def assert_files(directory: Path, log: str, missed: int) -> dict[str, Any]:
    """Check that all files are there and agree with the JSON; returns the JSON."""
    result: dict[str, Any] = json.loads((directory / FILES["json"]).read_text())
    rows = lines_of(directory / "r_rows.csv")
    assert [(row["name"], int(row["ok"])) for row in rows] == [(row["name"], row["ok"]) for row in result["rows"]]
    assert {line["at_s"] for line in lines_of(directory / "r_series.csv")} == set(map(str, result["series"]["at_s"]))
    assert "<title>TCP load test" in (directory / FILES["report"]).read_text()
    suite = ET.parse(directory / FILES["junit"]).find("testsuite")
    assert suite is not None
    assert int(suite.attrib["failures"]) == missed
    assert int(suite.attrib["tests"]) == 1 + len(result["gates"])
    for row in result["rows"]:
        distribution = (directory / FILES["hgrm"] / f"{row['type']}_{row['name']}_response.hgrm").read_text()
        (total,) = re.findall(r"^#\[Max .* Total count    = +(\d+)\]$", distribution, re.MULTILINE)
        assert int(total) == row["ok"]
    for name in (*FILES.values(), *CSV):
        if name != "r":
            assert f"wrote the result: {directory}" in log
            assert str(directory / name) in log
    return result


def test_two_workers_get_one_verdict_and_all_files_agree(tmp_path: Path) -> None:
    gates = "echo p50 < 5s\n'no row' p99 < 5s\nrate >= 1/min\nfailures < 0.1%"
    options = ("--headless", "-u", "8", "-r", "8", "-t", "2", "--tcp-think-time", "0.02", "--processes", "2")
    with LocustRun(
        tmp_path, *options, *file_options(tmp_path), extra={"GEVENTECHO_LOADTEST_GATES": gates}
    ) as run:  # fmt: skip
        assert run.wait() == 4, run.log
    assert "Traceback" not in run.log
    result = assert_files(tmp_path, run.log, missed=1)
    assert [(gate["expression"], gate["met"]) for gate in result["gates"]] == [
        ("echo p50 < 5s", True), ("'no row' p99 < 5s", False), ("rate >= 1/min", True), ("failures < 0.1%", True)
    ]  # fmt: skip
    printed = " ".join(run.log.split())  # lines are wrapped at 80 columns
    ends = [result["series"]["run"][name][-1] for name in ("users", "open")]
    assert ends == [8, 8], "the numbers of users and connections do not fall before the end"
    assert len(re.findall(r" gate met: ", printed)) == 3
    assert printed.count("gate NOT met: 'no row' p99 < 5s: there was no row no row; the rows are TCP connect, ") == 1


def test_each_test_of_the_web_ui_writes_its_files_and_the_last_one_sets_the_exit_code(tmp_path: Path) -> None:
    gates = ("--tcp-gate", "failures < 0.1%", "--tcp-gate", "rate > 1000000/s")
    with LocustRun(tmp_path, *gates, *file_options(tmp_path), "--tcp-think-time", "0.02") as run:
        run.wait_for_ui()
        assert "tcp_gate" not in run.request("/")[1]
        form = {"user_count": 4, "spawn_rate": 4, "host": run.server_target()}
        for count in (1, 2):
            assert run.swarm(**form)["success"]
            wait_until(lambda: run.stats()["total_rps"] > 20, 20 * SCALE, "requests")
            run.stop()
            run.wait_for_log(r"(?s)" + r"gate NOT met.*" * count)
            assert_files(tmp_path, run.log, missed=1)
            assert run.log.count("wrote the result") == 5 * count
        run.process.send_signal(signal.SIGTERM)
        assert run.wait() == 4, run.log
    assert "Traceback" not in run.log
    assert run.log.count("gate met: failures < 0.1% (failures 0% (0 of ") == 2
