"""Locust's private names: all of them exist, only one file uses them, and without any of them the numbers are right."""

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
"""A small run in one process lacks all of these names; each long test lacks one of them."""
IN_ONE_PROCESS = (
    "LOCUST_STATE_RUNNING",
    "LOCUST_STATE_WAITING",
    "LOCUST_STATE_STOPPING",
    "_taskset_instance",
    "_task_queue",
    "_percentile_fields",
    "to_dict",
)
"""A small run in one process lacks one of these names; each run takes some seconds."""
IN_A_WHOLE_RUN = (
    "stats_writer",
    "stats_printer",
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
"""A run of the launcher with two workers lacks one of these names."""
UNDERSCORED = re.compile(r"\b(?!self\b)\w+(?:\.\w+)*\.(_(?!_)\w+)")


def test_every_private_name_exists() -> None:
    """This Locust has all private names that make the load test quick and exact."""
    with peers.echoes() as peer:
        found = run_script("internals.present", peer.target)
    assert found == {"loop": "TaskLoop", "count": True, "missing": [], "runners": True}


def test_no_other_file_uses_a_private_name() -> None:
    """Names with an underscore, and undocumented names without an underscore."""
    # Locust documents `bucket_response_time`; our code also has the other names for other things.
    exceptions = ("bucket_response_time", "main", "clients", "_state", "master_host")
    plain = [name for name in (*QUICK, *IN_ONE_PROCESS, *IN_A_WHOLE_RUN) if name not in exceptions]
    for path in sorted(LOADTEST.rglob("*.py")):
        if path.name == "locust_internals.py":
            continue
        code = path.read_text()
        assert [name for name in UNDERSCORED.findall(code) if name not in ("_exit", "_version")] == [], path
        assert [name for name in plain if re.search(rf"\.{name}\b", code)] == [], path


@pytest.mark.parametrize(
    "names", [",".join(QUICK), *(pytest.param(name, marks=pytest.mark.long) for name in (*QUICK, *IN_ONE_PROCESS))]
)
def test_the_numbers_are_right_without_private_names(names: str) -> None:
    with peers.echoes() as peer:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.renamed_locust", names, str(SMALL_RUN), peer.target],
            capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=60 * SCALE, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    with_listener, without_listener = json.loads(done.stdout.splitlines()[-1])
    for result in (with_listener, without_listener):
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
    assert with_listener["fired"] == with_listener["account"]["ok"]


@pytest.mark.long
@pytest.mark.parametrize("name", IN_A_WHOLE_RUN)
def test_the_numbers_of_a_whole_run_are_right_without_a_private_name(name: str, tmp_path: Path) -> None:
    outputs = ("--html", str(tmp_path / "result.html"), "--csv", str(tmp_path / "result"))
    with LocustRun(
        tmp_path, "--headless", "-u", "20", "-r", "20", "-t", "3", "--tcp-think-time", "0.1", "--processes", "2",
        *outputs, without=name,
    ) as run:  # fmt: skip
        assert run.wait() == 0, run.log
        if name != "stats_writer":  # without it Locust may write to a closed file
            assert "Traceback" not in run.log
        fired = sum(process["ok"] for process in run.fired())
        assert run.counted() == {"requests": fired, "failures": 0}
        assert fired > 50
        assert re.search(r"operations: started \d+, ok \d+, failed 0, aborted \d+\n", run.log)
        assert f",Aggregated,{fired},0," in (tmp_path / "result_stats.csv").read_text()
        assert (tmp_path / "result.html").exists()
        assert run.family() == []
