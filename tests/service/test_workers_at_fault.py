"""Workers that hold their event loop, crash, or cannot start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.support import ROOT
from tests.support.commands import environment
from tests.support.servers import Process, ping, serve
from tests.support.timing import PATIENCE, wait_until
from tests.support.workers import count_now, worker_of, workers

SCRIPT = "tests.service.scripts.stuck_workers"


def stuck_workers() -> Process:
    return Process("-m", SCRIPT, cwd=ROOT)


@pytest.mark.parametrize("order", [pytest.param("spin", marks=pytest.mark.alone), "compute"])
def test_a_worker_whose_loop_is_held_is_replaced_and_its_stack_is_logged(order: str) -> None:
    with stuck_workers() as server, server.connect() as waiting, server.connect() as client:
        victim = worker_of(server, client)
        (other,) = set(workers(server)) - {victim}
        client.sendall(order.encode())
        began = time.monotonic()
        wait_until(lambda: victim not in workers(server) and len(workers(server)) == 2)
        assert order != "spin" or time.monotonic() - began < 5, "the limit holds where no other test runs"
        with server.connect() as fresh:
            ping(fresh)
        if order == "spin":
            assert f"worker {victim} is stuck in:" in server.errors
            assert "while True" in server.errors
            assert "greenlets that wait here: " in server.errors
        else:
            # The arbiter logs it once it has reaped the worker, and the thread of the log writes it later.
            wait_until(lambda: f"worker {victim} was in a call that does not return:" in server.errors)
            assert "in handle" in server.errors
        assert other in workers(server)
        counts = count_now(server)
        assert counts["ended_killed"] in (1, 2)  # `waiting` may be a client of the same worker
        assert counts["restarts"] == 1
        waiting.close()
        server.signal()
        assert server.wait() == 0


def test_a_worker_that_cannot_start_ends_the_service() -> None:
    done = subprocess.run(
        [sys.executable, "-m", SCRIPT, "broken"],
        capture_output=True, text=True, check=False, cwd=ROOT, env=environment(), timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == ""
    assert "RuntimeError: this worker cannot start" in done.stderr  # an error in the program keeps its traceback


def test_replacements_of_crashing_workers_are_delayed() -> None:
    with stuck_workers() as server:
        began = time.monotonic()
        for _ in range(4):
            with server.connect() as client:
                client.sendall(b"crash")
                assert client.recv(9) == b""
        wait_until(lambda: count_now(server)["restarts"] == 4)  # a dead worker is a child until the arbiter reaps it
        wait_until(lambda: len(workers(server)) == 2)
        assert time.monotonic() - began > 0.1 + 0.2 + 0.4
        assert "SIGSEGV ended it" in server.errors
        assert server.stop() == 0


@pytest.mark.long
def test_a_crash_loop_ends_the_service() -> None:
    with stuck_workers() as server:
        ends = time.monotonic() + 60
        while server.popen.poll() is None:
            assert time.monotonic() < ends
            try:
                with server.connect() as client:
                    client.sendall(b"crash")
                    client.recv(9)
            except OSError:
                pass
        assert server.wait() == 1
        assert "the workers end again and again" in server.errors


def test_twenty_kills_in_a_row_are_no_crash_loop() -> None:
    with serve("--workers", "2") as server:
        for _ in range(20):
            victim = workers(server)[0]
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda victim=victim: victim not in workers(server) and len(workers(server)) == 2)  # type: ignore[misc]
            with server.connect() as client:
                ping(client)
        counts = count_now(server)
        assert (counts["restarts"], counts["accepted"]) == (20, 20)
        assert server.stop() == 0
