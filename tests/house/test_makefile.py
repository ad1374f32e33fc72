"""The targets of the Makefile that people type, with the environment that runs these tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.locust_process import environment
from tests.support.timing import SCALE

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make without making an environment: what it would put there is this one."""
    # `make test ARGS=…` hands its variables to every make that it starts.
    variables = {
        name: text for name, text in environment().items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES", "ARGS")
    }
    command = ["make", "--old-file", ".venv/.ready", f"BIN={Path(sys.executable).parent}", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60 * SCALE, check=False
    )


def test_headless_runs_keep_the_reports_of_earlier_ones(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    for earlier, processes in enumerate(("", "2")):
        done = make("loadtest-headless", "USERS=2", "RUN_TIME=3s", f"PROCESSES={processes}", f"REPORTS={reports}")
        assert done.returncode == 0, done.stderr
        folders = sorted(path for path in reports.iterdir() if not path.is_symlink())
        assert len(folders) == earlier + 1
        assert (reports / "latest").resolve() == folders[-1]
        assert done.stderr.splitlines()[-1] == f"report: {folders[-1]}/loadtest.html"
        assert done.stderr.count("report: ") == 1, "the workers say nothing"
        assert all((folder / "loadtest.html").stat().st_size for folder in folders)
        assert all((folder / "loadtest_stats.csv").stat().st_size for folder in folders)


def test_two_headless_runs_in_the_same_second(tmp_path: Path) -> None:
    """Each has a folder; `date` shows both the same time."""
    reports = tmp_path / "reports"
    (tmp_path / "date").write_text("#!/bin/sh\necho 2026-01-02_030405\n")
    (tmp_path / "date").chmod(0o755)
    for earlier in range(2):
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = make("loadtest-headless", f"REPORTS={reports}", "LOADTEST=true", f"PATH={path}")
        assert done.returncode == 0, done.stderr
        folders = {path.name for path in reports.iterdir() if not path.is_symlink()}
        assert len(folders) == earlier + 1
        assert all(name.startswith("2026-01-02_030405_") for name in folders)
    assert (reports / "latest").resolve().is_dir()


def test_serving_installs_no_more_than_it_needs() -> None:
    """As on a fresh clone: what make would do, without doing it."""
    for target in ("serve", "loadtest", "loadtest-headless"):
        steps = make("--dry-run", "VENV=no-such-environment", target).stdout
        assert steps.count("making no-such-environment: installing requirements.txt") == 1
        assert "requirements-dev.txt" not in steps


@pytest.mark.parametrize("target", ["test-together", "check", "format", "build"])
def test_tests_and_checks_install_the_rest(target: str) -> None:
    steps = make("--dry-run", "VENV=no-such-environment", target).stdout
    assert steps.index("requirements.txt") < steps.index("requirements-dev.txt")
