"""The first wrong reply of each row and kind is in the log and in the text of the failures."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest

from tests.support import ROOT, peers
from tests.support.locust_process import LocustRun
from tests.support.locust_script import run_script, run_users

ANY_TCP = ROOT / "loadtests" / "any_tcp.py"


def test_the_first_wrong_reply_of_a_row_is_in_the_text_of_its_failures() -> None:
    """Every reply differs, and all failures of a row have one text."""
    with peers.echoes() as peer:
        result = run_users("requests.wrong_replies", peer.target)
    rows = result["rows"]
    assert result["errors"] == {
        "3 bytes: unexpected reply": rows["3 bytes"][1],
        "200 bytes: unexpected reply": rows["200 bytes"][1],
        "judged: no good": rows["judged"][1],
    }
    origin = rf"from {re.escape(peer.target)}, [\d.e-]+ s after its connect"
    large, small, judged = sorted(result["samples"])
    assert re.fullmatch(rf"200 bytes: unexpected reply, first seen: b'1{{80}}' {origin}", large), large
    assert re.fullmatch(rf"3 bytes: unexpected reply, first seen: b'111' {origin}", small), small
    assert re.fullmatch(rf"judged: no good, first seen: b'00001' {origin}", judged), judged


def test_control_characters_in_the_name_of_a_row_are_escaped() -> None:
    logged = run_script("requests.logged_sample", "\x1b[31mred\n")
    assert logged.startswith(r"TCP \x1b[31mred\n: unexpected reply, first seen: b'y'")


@pytest.mark.long
def test_the_samples_of_two_workers_are_one_row(tmp_path: Path) -> None:
    options = ("--tcp-send", r"{user} \xff{message}\r\n", "--tcp-reply-until", r"\r\n", "--tcp-expect", "^no")
    with peers.echoes() as peer, LocustRun(
        tmp_path, "--headless", "-u", "4", "-r", "4", "-t", "6", "--tcp-think-time", "0.05", "--processes", "2",
        "--csv", str(tmp_path / "run"), "--host", peer.target, *options, locustfile=ANY_TCP,
    ) as run:  # fmt: skip
        assert run.wait() == 1, run.log
    with (tmp_path / "run_failures.csv").open() as file:
        (failure,) = csv.DictReader(file)
    with (tmp_path / "run_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    assert failure["Occurrences"] == rows["request"]["Failure Count"] == rows["request"]["Request Count"]
    assert int(failure["Occurrences"]) > 50
    shown = rf"unexpected reply, first seen: b'\d+ \\xff\d+\\r\\n' from {re.escape(peer.target)}, [\d.e-]+ s after"
    assert re.match(shown, failure["Error"]), failure
    assert len(re.findall(rf"WARNING/geventecho.loadtest: TCP request: {shown}", run.log)) == 2, "one for each worker"
