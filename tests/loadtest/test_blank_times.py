"""A row whose operations have all failed has no response times; 0 would be a very good one."""

from __future__ import annotations

import csv
import html
import json
import re
from pathlib import Path

from tests.support import peers
from tests.support.locust_process import LocustRun
from tests.support.timing import wait_until


def test_the_tables_and_files_of_a_run(tmp_path: Path) -> None:
    outputs = ("--csv", str(tmp_path / "run"), "--html", str(tmp_path / "run.html"))
    with peers.refuses() as target, LocustRun(
        tmp_path, "--headless", "-u", "2", "-r", "2", "-t", "2", "--host", target, *outputs
    ) as run:  # fmt: skip
        assert run.wait() == 1, run.log
    printed = re.findall(r"^(?:TCP +connect|  +Aggregated) +(\d+) +\1\(100.00%\) \|(.{31})\|", run.log, re.MULTILINE)
    assert len(printed) >= 2, run.log
    assert {times.strip() for _, times in printed} == {""}
    with (tmp_path / "run_stats.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["Name"] for row in rows] == ["connect", "Aggregated"]
    for row in rows:
        times = {name: value for name, value in row.items() if name.endswith(("Time", "%"))}
        assert len(times) == 4 + 11
        assert set(times.values()) == {""}
        assert row["Request Count"] == row["Failure Count"] != "0"
    page = (tmp_path / "run.html").read_text()
    shown = json.loads(html.unescape(re.findall(r"window.templateArgs = (.*)", page)[0]))["requests_statistics"]
    for row in shown:
        assert {value for name, value in row.items() if "response_time" in name} == {None}


def test_the_web_ui(tmp_path: Path) -> None:
    with peers.refuses() as target, LocustRun(tmp_path, "--host", target) as run:
        run.wait_for_ui()
        assert run.swarm(user_count="2", spawn_rate="2")["success"] is True
        wait_until(lambda: run.stats()["total_fail_per_sec"] is not None and len(run.stats()["stats"]) == 2)
        for row in run.stats()["stats"]:
            assert {value for name, value in row.items() if "response_time" in name} == {None}
        assert run.request("/stats/requests/csv")[1].splitlines()[1].startswith("TCP,connect,")
        assert ",,,,0" in run.request("/stats/requests/csv")[1]
        run.stop()
