"""Locust as a library: a TcpUser on plain Locust, and with the additions of `install`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, peers
from tests.support.locust_process import environment
from tests.support.locust_script import run_script, run_users
from tests.support.timing import SCALE

PROGRAMS = Path(__file__).parent / "programs"


def run_program(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(PROGRAMS / name), *arguments],
        capture_output=True, text=True, cwd=ROOT, env=environment(), timeout=60 * SCALE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


def test_a_tcp_user_works_on_plain_locust_and_install_adds_to_it() -> None:
    with peers.echoes() as peer:
        (stock, first), (installed, second) = run_script("install.without_and_with", peer.target)
    for result in (first, second):
        account, rows = result["account"], result["rows"]
        assert account["ok"] == rows["echo"][0] + rows["connect"][0] >= 100
        assert result["errors"] == {}
        assert (result["sockets_left"], result["users_left"], result["greenlets_left"]) == (0, 0, 0)
    assert stock == {
        "bucket": 0,
        "shown_by": "locust.stats",
        "limit_raised": False,
        "frozen": False,
        "listeners": {"quit": 0, "quitting": 0, "test_start": 2},
    }
    assert installed.pop("shown_by").startswith("geventecho.")
    assert installed == {
        "bucket": 0.123,
        "limit_raised": True,
        "frozen": True,
        "listeners": {"quit": 1, "quitting": 2, "test_start": 8},
    }


def test_a_later_call_of_install_adds_the_missing_parts() -> None:
    with peers.echoes() as peer:
        found = run_script("install.in_steps", peer.target)
    nothing = {"quit": 0, "quitting": 0, "test_start": 0}
    complete = {"quit": 1, "quitting": 2, "test_start": 8}
    assert found == {"counts": [nothing, complete, complete], "statuses": [200, 421]}


def test_the_environments_of_one_program_do_not_accumulate() -> None:
    with peers.echoes() as peer:
        assert run_script("install.environments_left", peer.target, 4) <= 2  # greenlets of the last one still run


@pytest.mark.long
def test_a_worker_makes_a_parser_only_for_its_first_spawn_order() -> None:
    """Locust's worker makes a parser of 50 options for each spawn order: it does nothing else for 0.2 seconds."""
    with peers.echoes() as peer:
        assert run_script("install.parsers_made_by_spawn_orders", peer.target) == [1, 0]


def test_install_without_a_tcp_user_does_nothing() -> None:
    assert run_script("install.web_users_only") == [0, 0, 0, 0]


def test_a_single_user_runs_under_locust_s_debugger_entry() -> None:
    with peers.echoes() as peer:
        printed = run_program("single_user.py", peer.target)
    rows = [line.split() for line in printed.splitlines() if line.startswith("TCP")]
    assert [row[1] for row in rows] == ["connect", "echo", "second"]
    assert printed.splitlines()[-1] == "stopped"


@pytest.mark.long
def test_web_users_keep_their_results_beside_a_tcp_user() -> None:
    with peers.echoes() as peer:
        found = {mode: json.loads(run_program("mixed.py", mode, peer.target)) for mode in ("stock", "alone", "beside")}
    assert found["stock"]["rows"] == {"/": [32, 0, 3200, 0, 32], "/missing": [8, 8, 800, 0, 8]}
    assert found["stock"]["loops"] == ["DefaultTaskSet"]
    assert found["alone"] == found["beside"] == found["stock"]


def test_an_error_in_the_code_of_the_tester_shows_its_function() -> None:
    with peers.echoes() as peer:
        result = run_users("install.error_of_the_tester", peer.target)
    (shown,) = result["page"]
    assert "in last_field" in shown
    assert "in last_field" in result["log"]
    assert "IndexError: list index out of range" in result["log"]
    # The errors that Locust keeps for the whole test keep no frame alive.
    assert result["kept"] == ["IndexError: list index out of range", "IndexError('list index out of range')", True]
