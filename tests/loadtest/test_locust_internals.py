"""The private names of Locust: all are there, no other file uses one, and without any of them the numbers are right."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, peers
from tests.support.locust_process import LocustRun, environment
from tests.support.locust_script import run_script
from tests.support.timing import SCALE

LOADTEST = ROOT / "geventecho" / "loadtest"
SMALL_RUN = Path(__file__).parent / "programs" / "small_run.py"

QUICK = ("DefaultTaskSet", "_state", "_handlers", "_cache_response_times", "bucket_response_time")
"""Taken away in a small run in one process all at once, and one by one in the long run."""
IN_ONE_PROCESS = (
    "LOCUST_STATE_RUNNING",
    "LOCUST_STATE_WAITING",
    "LOCUST_STATE_STOPPING",
    "_taskset_instance",
    "_task_queue",
    "_percentile_fields",
    "to_dict",
)
"""Taken away in a small run in one process; each takes some seconds."""
IN_A_WHOLE_RUN = (
    "stats_writer",
    "last_received_spawn_timestamp",
    "spawning_greenlet",
    "clients",
    "get_worker_index",
    "master_host",
    "default_args_dict",
    "unhandled_greenlet_exception",
    "get_html_report",
    "process_html_filename",
    "main",
    "get_empty_argument_parser",
    "setup_parser_arguments",
)
"""Taken away in a run of the launcher with two workers."""
UNDERSCORED = re.compile(r"\b(?!self\b)\w+(?:\.\w+)*\.(_(?!_)\w+)")


def test_every_private_name_is_there() -> None:
    """A canary: this Locust has all that the load test is quick and exact with."""
    with peers.echoes() as peer:
        found = run_script("internals.present", peer.target)
    assert found == {"loop": "TaskLoop", "count": True, "missing": [], "runners": True}


def test_no_other_file_uses_a_private_name() -> None:
    """Names with an underscore, and the undocumented ones without it."""
    # Locust documents `bucket_response_time`; the others are words of other things, too.
    other = ("bucket_response_time", "main", "clients", "_state", "master_host")
    plain = [name for name in (*QUICK, *IN_ONE_PROCESS, *IN_A_WHOLE_RUN) if name not in other]
    for path in sorted(LOADTEST.rglob("*.py")):
        if path.name == "locust_internals.py":
            continue
        code = path.read_text()
        assert [name for name in UNDERSCORED.findall(code) if name not in ("_exit", "_version")] == [], path
        assert [name for name in plain if re.search(rf"\.{name}\b", code)] == [], path


@pytest.mark.parametrize(
    "names", [",".join(QUICK), *(pytest.param(name, marks=pytest.mark.long) for name in (*QUICK, *IN_ONE_PROCESS))]
)
def test_the_numbers_are_right_without(names: str) -> None:
    with peers.echoes() as peer:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.renamed_locust", names, str(SMALL_RUN), peer.target],
            capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=60 * SCALE, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    heard, unheard = json.loads(done.stdout.splitlines()[-1])
    for result in (heard, unheard):
        account = result["account"]
        requests = sum(requests for requests, _ in result["rows"].values())
        assert requests == account["ok"] >= 500
        assert result["errors"] == {}
        assert result["exceptions"] == []
        assert account["started"] == account["ok"] + account["failed"] + account["aborted"]
        assert result["timed"] == [requests, requests]
        assert result["average"] > 0
        assert result["csv"] == requests
        assert (result["sockets_left"], result["users_left"]) == (0, 0)
    assert heard["fired"] == heard["account"]["ok"]


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.long) for name in IN_A_WHOLE_RUN])
def test_the_numbers_of_a_whole_run_are_right_without(name: str, tmp_path: Path) -> None:
    outputs = ("--html", str(tmp_path / "result.html"), "--csv", str(tmp_path / "result"))
    with LocustRun(
        tmp_path, "--headless", "-u", "20", "-r", "20", "-t", "3", "--tcp-think-time", "0.1", "--processes", "2",
        *outputs, without=name,
    ) as run:  # fmt: skip
        assert run.wait() == 0, run.log
        if name != "stats_writer":  # then Locust may write to a file that it has closed
            assert "Traceback" not in run.log
        fired = sum(process["ok"] for process in run.fired())
        assert run.counted() == {"requests": fired, "failures": 0}
        assert fired > 50
        assert re.search(r"operations: started \d+, ok \d+, failed 0, aborted \d+\n", run.log)
        assert f",Aggregated,{fired},0," in (tmp_path / "result_stats.csv").read_text()
        assert (tmp_path / "result.html").exists()
        assert run.family() == []
