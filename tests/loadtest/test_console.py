"""The log of a run outside a terminal, and the options of Locust that change the log."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT, peers
from tests.support.locust_process import COUNTING_USER, LOCUSTFILES, LocustRun, environment
from tests.support.timing import SCALE

NO_TABLES = {"GEVENTECHO_LOADTEST_LOCUST_TABLES": "false"}
HEADLESS = ("--headless", "-u", "2", "-r", "2")


def test_a_log_has_a_plain_line_every_five_seconds_and_no_tables_of_locust(tmp_path: Path) -> None:
    with LocustRun(tmp_path, *HEADLESS, "-t", "8", "--tcp-think-time", "0.1", extra=NO_TABLES) as run:
        assert run.wait() == 0, run.log
    (line,) = re.findall(r"geventecho\.loadtest: (\d s of 8 s: .*)", run.log)
    figures = r"2 users, [\d.]+ good/s, p50 [\d.]+ ms, p99 \S+( ms)?, 0 failed, 2 open, [a-z-]+ so far"
    assert re.fullmatch(rf"[5-7] s of 8 s: {figures}", line)
    assert "Aggregated" not in run.log
    assert "\x1b" not in run.log


def test_standard_output_has_only_the_json_of_locust_and_only_summary_leaves_out_progress_lines(tmp_path: Path) -> None:
    command = ["-m", "locust", "-f", str(COUNTING_USER), *HEADLESS, "-t", "6", "--json", "--only-summary"]
    with peers.echoes() as peer:
        done = subprocess.run(
            [sys.executable, *command, "--host", peer.target], capture_output=True, text=True, cwd=ROOT,
            env=environment(FIRED=str(tmp_path)), timeout=60 * SCALE, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {row["name"] for row in json.loads(done.stdout)} == {"connect", "echo"}
    assert "\nverdict: " in done.stderr
    assert "so far" not in done.stderr


def test_print_stats_prints_progress_lines_with_the_web_ui_too(tmp_path: Path) -> None:
    with LocustRun(tmp_path, "--print-stats", extra=NO_TABLES) as run:
        run.wait_for_ui()
        run.swarm(user_count=2, spawn_rate=2)
        run.wait_for_log(r"\d s: 2 users, .* so far\n")
        run.stop()
        run.wait_for_log("\nverdict: ")
    assert "Aggregated" not in run.log


def test_locusts_tables_stay_in_a_run_without_a_tcp_user(tmp_path: Path) -> None:
    with LocustRun(
        tmp_path, *HEADLESS, "-t", "2", locustfile=LOCUSTFILES / "plain_user.py", own_server=False, extra=NO_TABLES
    ) as run:  # fmt: skip
        assert run.wait() == 0, run.log
    assert "Aggregated" in run.log
    assert "verdict: " not in run.log
