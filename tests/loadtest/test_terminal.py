"""Locust's tables in terminals of any width, narrower than its own columns too."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.support import ROOT, peers
from tests.support.locust_process import COUNTING_USER, environment
from tests.support.timing import SCALE


def run_in_terminal(columns: int, directory: Path, *arguments: str) -> tuple[int, str]:
    """Run a headless Locust in a terminal of that width; returns its exit code and its output there."""
    master, slave = pty.openpty()
    try:
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        command = [sys.executable, "-m", "locust", "-f", str(COUNTING_USER), "--headless", *arguments]
        process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, cwd=ROOT, start_new_session=True,
            env=environment(FIRED=str(directory)),
        )  # fmt: skip
    finally:
        os.close(slave)
    printed = b""
    try:
        signal.alarm(int(60 * SCALE))  # ends a read that waits for ever
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:  # EIO: the last process has closed the terminal
                break
            if not chunk:
                break
            printed += chunk
    finally:
        signal.alarm(0)
        os.close(master)
        process.kill()
    return process.wait(), printed.decode().replace("\r\n", "\n")


def assert_aligned(lines: list[str], head: str) -> None:
    """The last table with that head: every row stands under it and under the separator."""
    start = max(number for number, line in enumerate(lines) if re.match(head, line))
    table = lines[start : lines.index("", start)]
    shown = "\n".join(table)
    assert {len(line) for line in table} == {len(table[0])}, shown
    name = table[0].index("Name")
    assert sorted(line[name:].split(maxsplit=1)[0] for line in table if "-|-" not in line) == [
        "Aggregated", "Name", "connect", "echo",
    ], shown  # fmt: skip
    separators = [line for line in table if "-|-" in line]
    assert [line.split("|")[0] for line in separators] == ["-" * (name - 1)] * 2, shown
    assert all(len(line.split("|")[1]) >= len("Aggregated") for line in separators), shown
    assert all(line[name - 1] == " " for line in table if line not in separators), shown


@pytest.mark.parametrize("columns", [0, 80, 200])
def test_the_tables_in_a_terminal(columns: int, tmp_path: Path) -> None:
    arguments = ("-u", "2", "-r", "2", "-t", "1", "--tcp-think-time", "0.1")
    with peers.echoes() as peer:
        code, printed = run_in_terminal(columns, tmp_path, *arguments, "--host", peer.target)
    assert "Traceback" not in printed, printed
    assert code == 0, printed
    lines = printed.splitlines()
    assert_aligned(lines, r"Type +Name +# reqs")
    assert_aligned(lines, r"Type +Name +50%")
    assert [line for line in lines if re.match(r"TCP +connect +2 +0\(0\.00%\) ", line)], printed
    assert [line for line in lines if re.match(r"TCP +connect( +[\d.]+){11} +2$", line)], printed
