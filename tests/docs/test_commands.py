"""The commands of the documentation run."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.support import ROOT
from tests.support.documents import blocks, locust, redirected, run, shell_commands, two_by_default
from tests.support.locust_process import free_port

HEADLESS = [
    command
    for command in shell_commands("locust ")
    if "--headless" in str(command.values[0]) and "--master" not in str(command.values[0])
]


@pytest.mark.parametrize("command", two_by_default(HEADLESS))
def test_locust_commands_run(command: list[str], tmp_path: Path) -> None:
    text = next(str(b.values[0]) for b in blocks("python") if "RedisUser" in str(b.values[0]))
    with redirected(f"{shlex.join(command)}\n{text if 'redis_ping.py' in command else ''}") as redirected_text:
        line, _, file = redirected_text.partition("\n")
        (tmp_path / "redis_ping.py").write_text(file)
        (tmp_path / "loadtests").symlink_to(ROOT / "loadtests")
        port = str(free_port())
        printed = locust([*shlex.split(line)[1:], "--master-port", port, "--master-bind-port", port], tmp_path)
    assert " ok, 0 failed, " in printed


@pytest.mark.parametrize("command", shell_commands(".venv/bin/python "))
def test_commands_of_the_launcher_run(command: list[str]) -> None:
    with redirected(shlex.join(command)) as line:
        done = run([*shlex.split(line)[1:], "-u", "4", "-r", "4", "-t", "2"], ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", shell_commands("geventecho send ", "geventecho ping "))
def test_geventecho_commands_run(command: list[str], tmp_path: Path) -> None:
    with redirected(shlex.join(command)) as line:
        done = run(["-W", "error", "-m", "geventecho", *shlex.split(line)[1:]], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("command", two_by_default(shell_commands("geventecho load ")))
def test_load_commands_run(command: list[str], tmp_path: Path) -> None:
    with redirected(shlex.join(command)) as line:
        done = run(["-m", "geventecho", *shlex.split(line)[1:], "--time", "1s"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
