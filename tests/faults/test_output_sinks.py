"""Standard output takes nothing: a stalled pipe, a stopped terminal, a full device, a closed reader."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket

from tests.support import peers
from tests.support.commands import COMMAND, SECONDS, environment
from tests.support.servers import ping
from tests.support.sinks import closed_reader, full_device, stopped_terminal, unread_pipe
from tests.support.timing import SCALE, UNIT, wait_until

pytestmark = pytest.mark.faults

GONE = "Broken pipe"
FULL = "No space left on device"
UNREAD = "nobody reads it"


def buffered() -> dict[str, str]:
    """An environment in which Python buffers standard output, and flushes it when it ends."""
    return {name: value for name, value in environment().items() if name != "PYTHONUNBUFFERED"}


SINKS = {
    "stalled pipe": (unread_pipe, UNREAD),
    "stopped terminal": (stopped_terminal, UNREAD),
    "closed reader": (closed_reader, GONE),
    "full device": (full_device, FULL),
}


@contextlib.contextmanager
def serving(
    path: Path, stdout: int, *arguments: str, stderr: int = subprocess.PIPE
) -> Iterator[subprocess.Popen[bytes]]:
    """`geventecho serve` on a Unix socket, because it cannot print a port."""
    command = [*COMMAND, "serve", f"unix:{path}", *arguments]
    with subprocess.Popen(command, stdout=stdout, stderr=stderr, env=buffered()) as process:
        try:
            wait_until(path.exists)
            yield process
        finally:
            process.kill()


def connected(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(SECONDS)
    client.connect(str(path))
    return client


def ended(process: subprocess.Popen[bytes], number: int) -> tuple[int, bytes]:
    """Send a signal; returns the exit code and standard error. Fails if the exit takes 1.5 s or longer."""
    began = time.monotonic()
    process.send_signal(number)
    wait_until(lambda: process.poll() is not None)
    assert time.monotonic() - began < 1.5 * SCALE
    return process.returncode, process.stderr.read() if process.stderr else b""


@pytest.mark.parametrize("name", SINKS)
def test_serve_goes_on_without_standard_output_and_logs_one_line(name: str, tmp_path: Path) -> None:
    sink, reason = SINKS[name]
    path = tmp_path / "echo.sock"
    with sink() as stdout, serving(path, stdout) as process, connected(path) as client:
        for _ in range(300):
            process.send_signal(signal.SIGUSR1)
            ping(client)
        client.close()
        code, errors = ended(process, signal.SIGTERM)
    assert code == 0
    (line,) = errors.decode().splitlines()
    assert line.endswith(f" ERROR geventecho.serve: lines of standard output are lost: {reason}")


def test_serve_goes_on_when_the_pipe_of_both_its_outputs_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with unread_pipe() as pipe, serving(path, pipe, "--log-level", "debug", stderr=pipe) as process:
        for _ in range(100):
            process.send_signal(signal.SIGUSR1)
            with connected(path) as client:
                ping(client)
        assert ended(process, signal.SIGTERM) == (0, b"")


def test_a_second_signal_ends_serve_although_its_output_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    with unread_pipe() as pipe, serving(path, pipe, "--drain-idle", "60") as process, connected(path) as client:
        for _ in range(300):
            process.send_signal(signal.SIGUSR1)
            ping(client)
        process.terminate()
        wait_until(lambda: not path.exists())
        assert ended(process, signal.SIGINT)[0] == 130


def test_lost_bytes_are_exit_code_3_also_without_standard_output(tmp_path: Path) -> None:
    path = tmp_path / "echo.sock"
    options = ("--drain-timeout", "0")
    with closed_reader() as gone, serving(path, gone, *options) as process, connected(path) as client:
        client.settimeout(3 * UNIT)
        with contextlib.suppress(TimeoutError):
            while True:
                client.send(b"x" * 65536)
        process.terminate()
        wait_until(lambda: process.poll() is not None)
        assert process.returncode == 3


def test_lines_keep_their_order_and_dropped_lines_are_counted_once_the_pipe_is_read_again(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    path = tmp_path / "echo.sock"
    with serving(path, writer) as process, connected(path) as client:
        os.close(writer)
        for _ in range(1500):
            process.send_signal(signal.SIGUSR1)
            ping(client)
        os.set_blocking(reader, False)
        text = b""
        while b"lines were dropped" not in text:
            process.send_signal(signal.SIGUSR1)
            ping(client)
            with contextlib.suppress(BlockingIOError):
                text += os.read(reader, 1 << 20)
        process.terminate()
        client.close()
        os.set_blocking(reader, True)
        with open(reader, "rb") as rest:
            text += gevent.get_hub().threadpool.apply(rest.read)
        process.wait(SECONDS)
    lines = text.decode().splitlines()
    assert lines[0] == f"listening on unix:{path}"
    assert re.fullmatch(r"stopped: drained [01], cut 0, bytes lost 0", lines[-1])  # 0 if the client ended before
    dropped = sum(int(line.split()[0]) for line in lines if line.endswith(" lines were dropped"))
    assert dropped > 0
    assert f" output_dropped={dropped}" in lines[-2]
    sent = [int(line.partition("bytes_sent=")[2].split()[0]) for line in lines if "bytes_sent=" in line]
    assert sent == sorted(sent)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("closed reader", ["--version"]),
        ("closed reader", ["ping", "-c", "1", "-q"]),
        ("full device", ["serve", "--help"]),
        ("full device", ["send"]),
    ],
)
def test_an_output_that_cannot_be_written_is_one_line_and_exit_code_1(
    name: str, arguments: list[str], echo_peer: peers.Peer
) -> None:
    sink, reason = SINKS[name]
    command = [sys.executable, "-m", "geventecho", *arguments]
    if arguments[0] in ("ping", "send"):
        command.append(echo_peer.target)
    with sink() as stdout:
        done = subprocess.run(
            command, input=b"hello", stdout=stdout, stderr=subprocess.PIPE, env=buffered(), check=False
        )
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("geventecho")
    assert line.endswith(f": standard output cannot be written: {reason}")
    assert done.returncode == 1


@pytest.mark.parametrize("name", ["stopped terminal", "full device"])
def test_an_error_that_cannot_be_printed_keeps_its_code(name: str) -> None:
    with SINKS[name][0]() as stderr:
        done = subprocess.run([*COMMAND, "serve", "--nonsense"], stderr=stderr, env=buffered(), check=False)
    assert done.returncode == 2


@pytest.mark.parametrize(
    ("name", "number", "arguments"),
    [
        ("stalled pipe", signal.SIGINT, ["send"]),
        ("stopped terminal", signal.SIGINT, ["send"]),
        ("stalled pipe", signal.SIGINT, ["ping", "-i", "0"]),
        ("stopped terminal", signal.SIGTERM, ["ping", "-i", "0"]),
    ],
)
def test_a_signal_ends_a_command_that_waits_for_its_reader(name: str, number: int, arguments: list[str]) -> None:
    with peers.floods() as flood, peers.echoes() as echo, SINKS[name][0]() as stdout:
        peer = flood if arguments == ["send"] else echo
        with subprocess.Popen(
            [*COMMAND, arguments[0], peer.target, *arguments[1:]],
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, env=buffered(),
        ) as process:  # fmt: skip
            wait_until(lambda: peer.open)
            gevent.sleep(3 * UNIT)
            assert process.poll() is None
            code, errors = ended(process, number)
    if arguments == ["send"]:
        assert (code, errors) == (130 if number == signal.SIGINT else -number, b"")
    else:
        assert (code, errors) == (1, b"geventecho ping: standard output cannot be written: nobody reads it\n")
