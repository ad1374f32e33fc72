"""Names that have no bytes in UTF-8, and secrets of the command that no file may show."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

from geventecho.options import TYPED
from tests.support import ROOT, peers
from tests.support.locust_process import LocustRun

UNENCODABLE = ROOT / "tests" / "loadtest" / "locustfiles" / "unencodable.py"
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""A locale in which Python encodes the log file as ASCII."""


def test_names_without_utf_8_are_escaped_secrets_are_masked_and_a_malformed_command_is_ignored(tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    with peers.echoes() as peer, LocustRun(
        tmp_path, "--headless", "-u", "2", "-t", "3", "--processes", "2", "--tcp-think-time", "0.05",
        "--host", peer.target, "--csv", str(tmp_path / "run"), "--tcp-json", str(result),
        "--password", "hunter2", "--password=hunter3", "--passw", "hunter4", "-Shunter5", "--session-tok=hunter6",
        "--logfile", str(tmp_path / "log"), locustfile=UNENCODABLE, extra={TYPED: "load 'not closed", **ASCII},
    ) as run:  # fmt: skip
        assert run.wait() == 1, run.log
    found = json.loads(result.read_text())
    rows = {row["name"]: row for row in found["rows"]}
    bad, worse = rows["bad\\udcff"], rows["worse\\udc80"]
    assert bad["ok"] > 0 == bad["failed"]
    assert worse["failed"] > 0 == worse["ok"]
    with (tmp_path / "run_stats.csv").open() as file:
        stock = {row["Name"]: int(row["Request Count"]) for row in csv.DictReader(file)}
    assert (stock["bad\\udcff"], stock["worse\\udc80"]) == (bad["ok"], worse["failed"])
    assert "Traceback" not in run.log
    log = (tmp_path / "log").read_text("ascii")
    assert re.search(r"response +\d.* \\u2013", log), "the dash of a percentile without a value is escaped"
    assert "hunter" not in result.read_text() + run.log + log
    assert "load" not in found["argv"], "the malformed command"
    place = found["argv"].index("--password")
    assert found["argv"][place : place + 7] == [
        "--password", "***", "--password=***", "--passw", "***", "-S***", "--session-tok=***",
    ]  # fmt: skip
