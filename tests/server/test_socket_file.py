"""The files of Unix listeners: of a killed server, of two that start at once, of a successor."""

from __future__ import annotations

import fcntl
import os
import socket as plain
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from geventecho.server import socket_file
from geventecho.server.tcp_server import EchoServer
from tests.support import ROOT
from tests.support.servers import dial, ping, running
from tests.support.timing import PATIENCE, UNIT

pytestmark = pytest.mark.usefixtures("no_leaks")
ROUNDS = 100


class Twin:
    """A process that starts and stops a server on command."""

    def __init__(self, stack: ExitStack) -> None:
        self.popen = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", "tests.server.scripts.unix_server"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
            )
        )  # fmt: skip
        stack.callback(self.popen.kill)
        assert self.answer() == "ready"

    def tell(self, line: object) -> None:
        assert self.popen.stdin is not None
        self.popen.stdin.write(f"{line}\n")
        self.popen.stdin.flush()

    def answer(self) -> str:
        assert self.popen.stdout is not None
        return self.popen.stdout.readline().strip()


@pytest.fixture(scope="module")
def twins() -> Iterator[list[Twin]]:
    with ExitStack() as stack:
        yield [Twin(stack) for _ in range(2)]


def leave_stale(path: Path) -> None:
    """Leave a socket file, as a killed server does."""
    with plain.socket(plain.AF_UNIX) as dead:
        dead.bind(str(path))
        dead.listen()


def listens_at(path: Path) -> int:
    """The pid of the process that listens there."""
    with plain.socket(plain.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        pid, _, _ = struct.unpack("3i", client.getsockopt(plain.SOL_SOCKET, plain.SO_PEERCRED, 12))
        return int(pid)


@pytest.mark.parametrize("stale", [True, False], ids=["stale", "free"])
def test_one_of_two_servers_that_start_at_once_listens(stale: bool, twins: list[Twin], tmp_path: Path) -> None:
    path = tmp_path / "echo"
    for _ in range(ROUNDS):
        if stale:
            leave_stale(path)
        for twin in twins:
            twin.tell(path)
        answers = {twin.popen.pid: twin.answer() for twin in twins}
        (winner,) = (pid for pid, answer in answers.items() if answer == "listening")
        assert sum("a process that listens there" in answer for answer in answers.values()) == 1, answers
        assert listens_at(path) == winner
        for twin in twins:
            twin.tell("")
            assert twin.answer() == "stopped"
        assert os.listdir(tmp_path) == []


def test_a_stop_leaves_the_file_of_a_successor(tmp_path: Path) -> None:
    path = tmp_path / "echo"
    first = EchoServer(f"unix:{path}")
    first.start()
    path.unlink()
    with running(EchoServer(f"unix:{path}")) as second:
        first.stop()
        with dial(second) as client:
            ping(client)
    assert os.listdir(tmp_path) == []


def test_a_directory_that_another_process_keeps_locked_only_delays_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_file, "LOCK_SECONDS", 2 * UNIT)
    path = tmp_path / "echo"
    leave_stale(path)
    directory = os.open(tmp_path, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        began = time.monotonic()
        with running(EchoServer(f"unix:{path}")) as server, dial(server) as client:
            assert 2 * UNIT <= time.monotonic() - began < 6 * UNIT
            ping(client)
    finally:
        os.close(directory)
