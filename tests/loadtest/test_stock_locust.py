"""The import of geventecho.loadtest only adds listeners to Locust; `init` changes Locust only with a TcpUser."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support import ROOT
from tests.support.locust_process import environment

PROGRAM = Path(__file__).parent / "programs" / "changes.py"


def changes(moment: str, kind: str) -> dict[str, Any]:
    def lower_limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    done = subprocess.run(
        [sys.executable, str(PROGRAM), moment, kind],
        capture_output=True, text=True, cwd=ROOT, env=environment(), preexec_fn=lower_limit, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found.pop("attributes") > 1000
    return found


def test_the_import_changes_nothing_and_registers_listeners() -> None:
    assert changes("import", "tcp") == {
        "changed": [],
        "new": [],
        "contents": [],
        "listeners": {"init": 1, "init_command_line_parser": 1, "quitting": 1},
        "process": [],
    }


def test_init_without_a_tcp_user_changes_nothing() -> None:
    assert changes("init", "http") == {"changed": [], "new": [], "contents": [], "listeners": {}, "process": []}


def test_init_with_a_tcp_user_changes_only_the_listed_attributes() -> None:
    found = changes("init", "tcp")
    assert found == {
        "changed": [
            "locust.stats.StatsCSV._percentile_fields",
            "locust.stats.StatsCSVFileWriter.stats_writer",
            "locust.stats.StatsEntry.to_dict",
            "locust.stats.bucket_response_time",
            "locust.stats.stats_printer",
        ],
        "new": [],
        "contents": [],
        "listeners": {
            "quit": 1,
            "quitting": 1,
            "reset_stats": 1,
            "spawning_complete": 1,
            "test_start": 8,
            "test_stop": 4,
            "test_stopping": 3,
        },
        "process": ["descriptors", "frozen"],
    }
