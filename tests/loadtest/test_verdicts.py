"""Verdicts of real runs: overloaded generators, idle generators, and servers that are at fault."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support import peers
from tests.support.locust_process import ECHO_USER, EchoServerProcess, LocustRun
from tests.support.timing import SCALE, figure

USERS = "All users spawned"
CORES = sorted(os.sched_getaffinity(0))
Disturbance = Callable[[LocustRun], contextlib.AbstractContextManager[object]]


def verdict_of(
    directory: Path, target: str, seconds: int, *arguments: str, disturbed: Disturbance | None = None
) -> tuple[str, list[str]]:
    """Run a load test; returns the status and the reasons of its verdict.

    Args:
        directory: the run gets a new directory in it.
        target: of the server.
        seconds: the duration of the run.
        arguments: of Locust.
        disturbed: a context that is entered once all users are spawned.
    """
    directory = directory / f"{len(list(directory.iterdir()))}"
    directory.mkdir()
    result = directory / "result.json"
    with LocustRun(
        directory, "--headless", "--host", target, "-t", f"{seconds}s", "--tcp-json", str(result), "--only-summary",
        *arguments, locustfile=ECHO_USER,
    ) as run:  # fmt: skip
        with contextlib.ExitStack() as stack:
            if disturbed is not None:
                run.wait_for_log(USERS)
                stack.enter_context(disturbed(run))
            run.wait(seconds + 40 * SCALE)
        print(run.log)
    found = json.loads(result.read_text())
    figure(" ".join(arguments), found["verdict"])
    return found["verdict"]["status"], found["verdict"]["reasons"]


@contextlib.contextmanager
def stopped_for_half_a_second(run: LocustRun) -> Iterator[None]:
    time.sleep(1)
    run.process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    run.process.send_signal(signal.SIGCONT)
    yield


@contextlib.contextmanager
def throttled(run: LocustRun) -> Iterator[None]:
    """Stop the generator for half of the time, as cpulimit(1) does."""
    is_over = threading.Event()

    def throttle() -> None:
        while not is_over.wait(0.05) and run.process.poll() is None:
            run.process.send_signal(signal.SIGSTOP)
            time.sleep(0.05)
            run.process.send_signal(signal.SIGCONT)

    throttler = threading.Thread(target=throttle)
    throttler.start()
    try:
        yield
    finally:
        is_over.set()
        throttler.join()


@contextlib.contextmanager
def beside_a_busy_process(run: LocustRun) -> Iterator[None]:
    """Pin the generator, or one of its workers, to a core that another process keeps busy."""
    workers = [process.pid for process in run.workers()]
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        for pid in (busy.pid, workers[0] if workers else run.process.pid):
            os.sched_setaffinity(pid, {CORES[-1]})
        try:
            yield
        finally:
            busy.kill()


FEW = ("-u", "50", "-r", "50", "--tcp-arrival-rate", "200")
OVERLOADED: list[tuple[str, Disturbance | None, tuple[str, ...]]] = [
    ("without pauses", None, ("-u", "100", "-r", "100", "--tcp-think-time", "0")),
    ("a rate beyond its capacity", None, ("-u", "500", "-r", "500", "--tcp-arrival-rate", "50000")),
    ("stopped", stopped_for_half_a_second, FEW),
    ("throttled", throttled, FEW),
    ("beside a busy process", beside_a_busy_process, FEW),
    ("one worker beside a busy process", beside_a_busy_process, (*FEW, "--processes", "2")),
]
DISTURBED = 0.001
"""The median lateness, in seconds, from which a run counts as disturbed. On an idle machine it is 0.2 ms."""
IDLE = [
    ("-u", "50", "-r", "50", "--tcp-arrival-rate", "100"),
    ("-u", "100", "-r", "100", "--tcp-arrival-rate", "200", "--tcp-arrivals", "poisson"),
    ("-u", "50", "-r", "50"),
    ("-u", "200", "-r", "200"),
    ("-u", "100", "-r", "100", "--tcp-arrival-rate", "200", "--processes", "2"),
]


@pytest.mark.alone
@pytest.mark.parametrize(
    ("disturbed", "arguments", "seconds"),
    [
        pytest.param(disturbed, arguments, 12, marks=[pytest.mark.long, pytest.mark.timeout(300)], id=f"{name} {time}")
        for time in range(4)
        for name, disturbed, arguments in OVERLOADED
    ]
    + [pytest.param(stopped_for_half_a_second, FEW, 4, marks=pytest.mark.long, id="stopped")],
)
def test_an_overloaded_generator_is_flagged(
    disturbed: Disturbance | None, arguments: tuple[str, ...], seconds: int, tmp_path: Path
) -> None:
    """24 of 24 runs are flagged. golden/test_generator.py has a stopped generator that is not a long test."""
    with EchoServerProcess() as server:
        status, _ = verdict_of(tmp_path, server.target, seconds, *arguments, disturbed=disturbed)
    assert status == "generator-bound"


@contextlib.contextmanager
def lateness() -> Iterator[list[float]]:
    """Yield a list that has, after the block, the largest lateness of a timer in each second, in seconds.

    The timer is independent of the load test. If it is late, another program or the machine's host used the core.
    """
    found: list[float] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            until, most = time.monotonic() + 1, 0.0
            while time.monotonic() < until and not ended.is_set():
                due = time.monotonic() + 0.01
                time.sleep(0.01)
                most = max(most, time.monotonic() - due)
            found.append(most)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


@pytest.mark.alone
@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(arguments, marks=[pytest.mark.long, pytest.mark.timeout(300)], id=f"{number} {time}")
        for time in range(4)
        for number, arguments in enumerate(IDLE)
    ]
    + [pytest.param(IDLE[0], id="even")],
)
def test_an_idle_generator_is_trusted(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """20 of 20 runs are trusted. A run that other programs disturb is repeated: its verdict is rightly different."""
    for _ in range(3):
        with EchoServerProcess() as server, lateness() as found:
            status, reasons = verdict_of(tmp_path, server.target, 11, *arguments)
        late = statistics.median(found)
        figure("a timer of another process was late by, ms", f"{1e3 * late:.2f}")
        if status == "trusted" or late < DISTURBED:
            break
    else:
        pytest.skip(f"timers of this machine are {1e3 * late:.1f} ms late, which disturbed the run: {reasons}")
    assert (status, reasons) == ("trusted", [])


def one_at_a_time(seconds: float) -> peers.Peer:
    """A peer of limited capacity: it echoes one message at a time, of all its connections, each after a pause."""
    lock = threading.Lock()

    def serve(connection: socket.socket) -> None:
        while data := connection.recv(peers.CHUNK):
            with lock:
                time.sleep(seconds)
            connection.sendall(data)

    return peers.Peer(serve)


@pytest.mark.long
@pytest.mark.alone
def test_a_server_over_its_capacity_is_unsteady(tmp_path: Path) -> None:
    """The rate is 120 % of the capacity: no percentile exists."""
    with one_at_a_time(0.01) as server:
        status, reasons = verdict_of(tmp_path, server.target, 15, "-u", "400", "-r", "400", "--tcp-arrival-rate", "115")
    assert status == "unsteady"
    assert any(reason.startswith("echo: p50 rose") for reason in reasons)


@pytest.mark.long
@pytest.mark.alone
def test_too_few_users_are_not_the_generators_fault(tmp_path: Path) -> None:
    """Each of the two users can do 20 tasks a second: most tasks are dropped."""
    arguments = ("-u", "2", "-r", "2", "--tcp-arrival-rate", "100", "--tcp-max-lateness", "0.5")
    with peers.echoes_after(0.05) as server:
        status, reasons = verdict_of(tmp_path, server.target, 14, *arguments)
    assert status == "unsteady"
    assert re.match(r"offered (9\d|10\d) tasks/s, achieved [34]\d tasks/s: all users were busy", reasons[0])


@pytest.mark.long
@pytest.mark.alone
def test_a_server_that_stalls_is_not_the_generators_fault(tmp_path: Path) -> None:
    """The server is stopped for 2 of 20 s. The generator measures the stall correctly."""

    @contextlib.contextmanager
    def stalled(_: LocustRun) -> Iterator[None]:
        time.sleep(8)
        os.kill(server.pid, signal.SIGSTOP)
        time.sleep(2)
        os.kill(server.pid, signal.SIGCONT)
        yield

    with EchoServerProcess() as server:
        arguments = ("-u", "50", "-r", "50", "--tcp-arrival-rate", "200")
        status, reasons = verdict_of(tmp_path, server.target, 20, *arguments, disturbed=stalled)
    assert status in ("trusted", "unsteady"), reasons


@pytest.mark.long
@pytest.mark.alone
def test_a_server_that_fails_half_of_the_requests_is_not_the_generators_fault(tmp_path: Path) -> None:
    """The server closes each connection at the second request."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(connection.recv(peers.CHUNK))
        connection.recv(peers.CHUNK)

    with peers.Peer(serve) as server:
        status, reasons = verdict_of(tmp_path, server.target, 14, "-u", "200", "-r", "200", "--tcp-arrival-rate", "100")
    assert status in ("trusted", "unsteady"), reasons
