"""The load driver notices each fault of an echo. The comparison relies on it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import get_hub, socket
from gevent.server import StreamServer

from tests.support import ROOT, peers
from tests.support.timing import PATIENCE, UNIT

BUILD = ROOT / "bench" / "build"
Handler = Callable[[socket.socket, Any], None]

pytestmark = pytest.mark.usefixtures("no_leaks")


def run(command: list[str], *, timeout: float = PATIENCE, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command while this process's servers go on.

    It runs in a thread, and not by gevent.subprocess: the handler of SIGCHLD of gevent.subprocess stays, and reaps the
    children of all later tests, whose exit codes then read 0.
    """
    done: subprocess.CompletedProcess[str] = get_hub().threadpool.apply(
        subprocess.run, (command,), {"capture_output": True, "text": True, "timeout": timeout, **options}
    )
    return done


@pytest.fixture(scope="module", autouse=True)
def _programs() -> None:
    """Build the programs as `make bench` builds them, with warnings as errors."""
    make = ["make", "-C", str(ROOT / "bench"), "build/driver", "build/c_epoll"]
    run(make, check=True)


@contextmanager
def serving(handler: Handler) -> Iterator[int]:
    server = StreamServer(("127.0.0.1", 0), handler, backlog=1024)  # gevent has 128: fewer than a burst
    server.start()
    try:
        yield server.server_port
    finally:
        server.stop()


def drive(port: int, *arguments: str) -> tuple[int, dict[str, Any]]:
    """The driver's exit status and result."""
    command = [str(BUILD / "driver"), "--port", str(port), "--warmup", "0", *arguments]
    done = run(command)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def echo(connection: socket.socket, _address: object) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


@pytest.mark.parametrize("size", ["1", "7", "8", "9", "64", "1024", "300000"])
@pytest.mark.parametrize("mode", ["closed", "pipelined", "paced", "churn"])
def test_counts_add_up(mode: str, size: str) -> None:
    """Every byte sent reaches the server once and comes back once."""
    seen = 0

    def counting(connection: socket.socket, _address: object) -> None:
        nonlocal seen
        while data := connection.recv(65536):
            seen += len(data)
            connection.sendall(data)

    with serving(counting) as port:
        status, result = drive(port, "--mode", mode, "--size", size, "--connections", "3", "--duration", str(UNIT))
    totals = result["totals"]
    assert status == 0
    assert result["first_failure"] == ""
    assert result["messages"] > 0
    assert totals["bytes_sent"] == totals["bytes_compared"] == seen
    assert totals["bytes_lost"] == 0
    assert seen % int(size) == 0
    assert totals["opened"] == totals["proven"]
    assert result["latency_us"]["p50"] <= result["latency_us"]["p99"] <= result["latency_us"]["max"]


def test_a_flipped_byte_is_found_with_its_position() -> None:
    with peers.corrupts(100_007) as peer:
        status, result = drive(peer.port, "--connections", "1", "--size", "1000")
    assert status == 1
    assert result["failures"]["corrupt"] == 1
    assert "message 100, byte 100007 of its stream: this byte differs" in result["first_failure"]


def test_the_echo_of_another_connection_is_found() -> None:
    """Each connection gets as many bytes as it sent, but those of the other: one payload for all would hide that."""
    pair: dict[socket.socket, bytes] = {}

    def crossing(connection: socket.socket, _address: object) -> None:
        pair[connection] = connection.recv(8)
        while len(pair) < 2:
            gevent.sleep(0.001)
        connection.sendall(next(data for other, data in pair.items() if other is not connection))
        connection.recv(8)

    with serving(crossing) as port:
        status, result = drive(port, "--connections", "2", "--size", "8")
    assert status == 1
    assert result["failures"]["corrupt"] > 0  # the first failure ends the run


def test_the_echo_of_an_earlier_message_is_found() -> None:
    def repeating(connection: socket.socket, _address: object) -> None:
        first = connection.recv(64)
        connection.sendall(first)
        while connection.recv(64):
            connection.sendall(first)

    with serving(repeating) as port:
        status, result = drive(port, "--connections", "1", "--size", "64")
    assert status == 1
    assert "message 1, byte 64 of its stream: this byte differs" in result["first_failure"]


def test_repeated_bytes_are_found() -> None:
    def repeating(connection: socket.socket, _address: object) -> None:
        while data := connection.recv(65536):
            connection.sendall(data + data[-1:])

    with serving(repeating) as port:
        status, result = drive(port, "--connections", "1")
    assert status == 1
    assert result["failures"]["corrupt"] == 1


def test_ended_connections_are_failures_and_their_bytes_are_lost() -> None:
    def leaving(connection: socket.socket, _address: object) -> None:
        for _ in range(3):
            connection.sendall(connection.recv(1024))
        connection.recv(1024)

    with serving(leaving) as port:
        status, result = drive(port, "--connections", "2", "--size", "64", "--duration", str(UNIT))
    totals = result["totals"]
    assert status == 1
    assert result["failures"]["eof"] == 2
    assert totals["bytes_compared"] == 2 * 3 * 64
    assert totals["bytes_sent"] == totals["bytes_compared"] + totals["bytes_lost"]


def test_a_silent_server_is_a_failure_after_the_timeout() -> None:
    def silent(connection: socket.socket, _address: object) -> None:
        while connection.recv(65536):
            pass

    with serving(silent) as port:
        status, result = drive(port, "--connections", "2", "--timeout", str(UNIT))
    assert status == 1
    assert result["failures"]["unanswered"] == 2


def test_refused_connections_are_counted() -> None:
    with serving(echo) as port:
        pass
    status, result = drive(port, "--connections", "5", "--duration", str(UNIT))
    assert status == 1
    assert result["failures"]["connect"] == 5
    assert "refused" in result["first_failure"]


def test_a_stall_shows_in_every_message_planned_meanwhile() -> None:
    """Latency counts from the planned instant: a server that stops for a while is late for all messages then due."""
    stall = 5 * UNIT

    def stalling(connection: socket.socket, _address: object) -> None:
        connection.sendall(connection.recv(64))
        connection.sendall(connection.recv(64))
        gevent.sleep(stall)
        echo(connection, None)

    with serving(stalling) as port:
        mode = ("--mode", "paced", "--connections", "1", "--size", "64", "--rate", "1000")
        status, result = drive(port, *mode, "--duration", str(2 * stall))
    assert status == 0
    planned = 2 * stall * 1000
    assert result["latency_us"]["count"] == pytest.approx(planned, rel=0.1)
    assert 0.9 * stall * 1e6 <= result["latency_us"]["max"] <= PATIENCE * 1e6
    # Half of all messages were due during the stall, and waited for half of it on average.
    assert result["latency_us"]["mean"] >= 0.15 * stall * 1e6


def test_a_handicap_slows_the_driver_by_its_microseconds() -> None:
    """The comparison uses it to find the program that limits the throughput."""
    with serving(echo) as port:
        mode = ("--connections", "1", "--size", "64", "--handicap", "5000")
        status, result = drive(port, *mode, "--duration", str(5 * UNIT))
    assert status == 0
    assert 0 < result["messages_per_second"] <= 1 / 0.005


def test_all_connections_get_echoes_in_burst_and_flood() -> None:
    with serving(echo) as port:
        status, burst = drive(port, "--mode", "burst", "--burst", "300", "--connections", "2", "--rate", "200")
        assert (status, burst["first_failure"]) == (0, "")
        assert burst["totals"]["proven"] == burst["connect_us"]["count"] + 2 == 302
        flooded = ("--mode", "paced", "--flooders", "1", "--connections", "1", "--rate", "100")
        status, flood = drive(port, *flooded, "--duration", str(2 * UNIT))
    assert (status, flood["first_failure"]) == (0, "")
    assert flood["flood_bytes_per_second"] > 0
    assert flood["messages"] > 0


@pytest.mark.parametrize(
    "arguments", [["--mode", "nosuch"], ["--size", "0"], ["--connections", "x"], ["--host", "nowhere"], ["more"]]
)
def test_wrong_use_exits_2(arguments: list[str]) -> None:
    command = [str(BUILD / "driver"), "--port", "1", *arguments]
    done = run(command)
    assert done.returncode == 2
    assert done.stdout == ""
    assert arguments[-1] in done.stderr


def test_the_histogram_is_within_one_per_cent(tmp_path: Path) -> None:
    """Every value from 1 ns to 1,000 s, in steps of 0.3 %, is reported to within 1 %."""
    source = tmp_path / "check.c"
    source.write_text("""
        #include <stdio.h>
        #include "histogram.h"
        int main(void)
        {
            for (double value = 1; value < 1e12; value *= 1.003) {
                struct histogram histogram = {0};
                uint64_t ns = (uint64_t)value;
                histogram_record(&histogram, ns);
                histogram_record(&histogram, 1000000000000u);
                double reported = histogram_quantile(&histogram, 0.5);
                if (reported < (double)ns * 0.99 || reported > (double)ns * 1.01)
                    return printf("%lu is reported as %f\\n", ns, reported), 1;
            }
            return 0;
        }""")
    program = tmp_path / "check"
    compile_ = ["cc", "-O2", "-Wall", "-Werror", "-I", str(ROOT / "bench" / "driver"), "-o", str(program), str(source)]
    run(compile_, check=True)
    done = run([str(program)])
    assert (done.returncode, done.stdout) == (0, "")
