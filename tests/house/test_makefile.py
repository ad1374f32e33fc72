"""The targets of the Makefile for users, with the environment that runs these tests."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.locust_process import environment, free_port
from tests.support.timing import SCALE

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


SECONDS = 60 * SCALE


def started(*arguments: str) -> subprocess.Popen[str]:
    """Start make with this test's environment in place of a new one."""
    # `make test ARGS=…` hands its variables to every make that it starts.
    variables = {
        name: text for name, text in environment().items() if name not in ("MAKEFLAGS", "MAKEOVERRIDES", "ARGS")
    }
    command = ["make", "--old-file", ".venv/.ready", f"BIN={Path(sys.executable).parent}", *arguments]
    return subprocess.Popen(
        command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make to its end."""
    with started(*arguments) as process:
        try:
            output, errors = process.communicate(timeout=SECONDS)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def test_a_headless_run_has_a_folder_with_its_reports(tmp_path: Path) -> None:
    reports = tmp_path / "reports"
    done = make("loadtest-headless", "USERS=2", "RUN_TIME=2s", "PROCESSES=2", f"REPORTS={reports}")
    assert done.returncode == 0, done.stderr
    (folder,) = (path for path in reports.iterdir() if not path.is_symlink())
    assert (reports / "latest").resolve() == folder
    assert done.stderr.splitlines()[-1] == f"report: {folder}/report.html"
    assert done.stderr.count("report: ") == 1, "the workers print no such line"
    for name in ("loadtest.html", "loadtest_stats.csv", "report.html", "result.json", "result_rows.csv"):
        assert (folder / name).stat().st_size


def test_two_headless_runs_in_the_same_second_have_two_folders(tmp_path: Path) -> None:
    """`date` shows both the same time."""
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


def test_a_master_and_its_workers_run_a_test_on_another_address(tmp_path: Path) -> None:
    """The master binds to that address alone; the second worker starts the test."""
    port, result = free_port(), tmp_path / "result.json"
    headless = f"--headless --expect-workers 2 --run-time 2s --tcp-json {result} --master-bind-port {port}"
    worker = ["loadtest-worker", "MASTER=127.0.0.2", "PROCESSES=2", f"ARGS=--master-port {port}"]
    with started("loadtest-master", "MASTER_BIND=127.0.0.2", "USERS=4", f"ARGS={headless}") as master:
        try:
            workers = make(*worker)
            errors = master.communicate(timeout=SECONDS)[1]
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(master.pid, signal.SIGKILL)
    assert (master.returncode, workers.returncode) == (0, 0), errors + workers.stderr
    found = json.loads(result.read_text())
    assert len(found["workers"]) == 2
    assert {row["name"]: row["ok"] for row in found["rows"]}["connect"] == 4


def test_serving_installs_no_more_than_it_needs() -> None:
    """The steps are those of a fresh clone, which `make --dry-run` prints."""
    for target in ("serve", "loadtest", "loadtest-headless", "loadtest-master", "loadtest-worker"):
        steps = make("--dry-run", "VENV=no-such-environment", target).stdout
        assert steps.count("making no-such-environment: installing requirements.txt") == 1
        assert "requirements-dev.txt" not in steps


@pytest.mark.parametrize("target", ["test-together", "check", "format", "build"])
def test_tests_and_checks_install_the_development_requirements(target: str) -> None:
    steps = make("--dry-run", "VENV=no-such-environment", target).stdout
    assert steps.index("requirements.txt") < steps.index("requirements-dev.txt")
