"""Signals of one process: the drain, its exit codes and its last line."""

from __future__ import annotations

import re
import signal
import socket as plain
import subprocess
import sys
import time

import gevent
import pytest
from gevent import socket

from tests.support import ROOT
from tests.support.commands import COMMAND, environment, handles_signal
from tests.support.servers import Process, is_refused, ping, read_to_end, serve, time_until_refused
from tests.support.timing import PATIENCE, UNIT, median_of, wait_until


def last_line(server: Process) -> tuple[int, ...]:
    """Drained, cut and bytes lost; a probe of is_refused() that the server accepted counts as drained."""
    pattern = r"stopped: drained (\d+), cut (\d+), bytes lost (\d+)(?:, bytes discarded \d+)?"
    found = re.fullmatch(pattern, server.lines[-1])
    assert found, server.lines
    return tuple(int(count) for count in found.groups())


def flood(server: Process) -> tuple[socket.socket, list[gevent.Greenlet]]:
    """A connection that sends and reads without pauses; the values of the greenlets are the numbers of bytes."""
    client = server.connect()

    def send() -> int:
        sent = 0
        try:
            while True:
                sent += client.send(b"x" * 65536)
                gevent.sleep(0)
        except OSError:
            return sent

    def receive() -> int:
        received = 0
        while chunk := client.recv(1 << 20):
            received += len(chunk)
            gevent.sleep(0)
        return received

    return client, [gevent.spawn(send), gevent.spawn(receive)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_with_0_and_a_last_line(number: int) -> None:
    with serve() as server:
        with server.connect() as client:
            ping(client)
        server.signal(number)
        assert server.wait() == 0
        assert last_line(server) in ((0, 0, 0), (1, 0, 0))
        assert server.errors == ""


def counters_in(line: str) -> dict[str, int]:
    found = re.fullmatch(r"counters: (?:none|((?:\w+=\d+ ?)*))", line)
    assert found, line
    return {name: int(count) for name, _, count in (pair.partition("=") for pair in (found[1] or "").split())}


def test_counters_that_are_all_0_are_printed_as_none() -> None:
    with serve() as server:
        assert server.stop() == 0
        assert server.lines[-2] == "counters: none"


def test_the_counters_are_printed_at_sigusr1_and_at_the_end() -> None:
    with serve("--max-connections", "1") as server, server.connect() as client:
        ping(client)
        for _ in range(3):
            with server.connect() as refused:
                assert read_to_end(refused) == b""
        server.signal(signal.SIGUSR1)
        wait_until(lambda: len(server.lines) == 2)
        found = counters_in(server.lines[1])
        assert found == {"accepted": 4, "refused_full": 3, "bytes_received": 4, "bytes_sent": 4, "open": 1, "peak": 1}
        ping(client)
        client.close()
        assert server.stop() == 0
        last = counters_in(server.lines[-2])
        del found["open"]
        assert last == found | {"ended_peer": 1, "bytes_received": 8, "bytes_sent": 8}
        assert re.fullmatch(r"\S+ WARNING geventecho.server: clients turned away.*: full 3\n", server.errors)


def test_a_second_signal_while_the_server_waits_for_an_idle_client_prints_the_counters() -> None:
    with serve("--drain-idle", "30") as server, server.connect() as client:
        ping(client)
        server.signal()
        wait_until(lambda: is_refused(server.address))
        server.signal()
        assert server.wait() == 143
        found = counters_in(server.lines[-2])
        assert (found["open"], found["bytes_received"]) == (1, 4)
        assert last_line(server)[1:] == (1, 0)


def test_dropped_log_lines_are_counted() -> None:
    with open("/dev/full", "w") as full, serve("--log-level", "debug", stderr=full) as server:
        for _ in range(10):  # the last lines may still be in the queue at the count
            with server.connect() as client:
                ping(client)
        assert server.stop() == 0
        assert counters_in(server.lines[-2])["log_dropped"] >= 5


@pytest.mark.alone
def test_the_process_is_gone_soon_after_its_last_client() -> None:
    def once() -> float:
        with serve("--drain-idle", "30") as server:
            with server.connect() as client:
                ping(client)
                server.signal()
                wait_until(lambda: is_refused(server.address))
                client.shutdown(socket.SHUT_WR)
                assert read_to_end(client) == b""
                began = time.monotonic()
            assert server.wait() == 0
            return time.monotonic() - began

    median_of(3, once, 0.2 + UNIT, "exit after the last client, s")


@pytest.mark.alone
def test_the_listener_is_closed_within_50_ms() -> None:
    def once() -> float:
        with serve("--drain-idle", "30") as server, server.connect() as client:
            ping(client)
            server.signal()
            took = time_until_refused(server.address)
            client.close()
            assert server.wait() == 0
            return took

    median_of(3, once, 0.05, "listener closed, s")


@pytest.mark.alone
def test_the_listener_is_closed_within_50_ms_beside_four_floods() -> None:
    def once() -> float:
        with serve("--drain-timeout", "1") as server:
            floods = [flood(server) for _ in range(4)]
            gevent.sleep(2 * UNIT)
            address = server.address
            began = time.monotonic()
            server.signal()
            probe = gevent.get_hub().threadpool.apply(blocking_time_until_refused, (address.host, address.port, began))
            assert server.wait(PATIENCE) == 0, server.lines
            for client, greenlets in floods:
                gevent.joinall(greenlets, timeout=PATIENCE)
                sent, received = (greenlet.get() for greenlet in greenlets)
                assert 0 < received <= sent
                client.close()
            assert last_line(server)[1:] == (4, 0)
            assert server.errors == ""
            return float(probe)

    median_of(3, once, 0.05, "listener closed beside four floods, s")


def blocking_time_until_refused(host: str, port: int, began: float) -> float:
    """For a thread: the floods of this process go on meanwhile. A probe that still connects is closed at once."""
    while time.monotonic() - began < PATIENCE:
        try:
            plain.create_connection((host, port), 1).close()
        except ConnectionRefusedError:
            return time.monotonic() - began
        except OSError:
            pass
    return PATIENCE


def test_clients_in_the_accept_queue_are_served() -> None:
    """The clients connect and send while the process is stopped; SIGTERM is pending when it continues."""
    with serve() as server:
        address = server.address
        server.signal(signal.SIGSTOP)
        queued = [plain.create_connection((address.host, address.port), PATIENCE) for _ in range(50)]
        for number, client in enumerate(queued):
            client.sendall(b"%04d" % number)
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGCONT)
        for number, client in enumerate(queued):
            assert client.recv(4) == b"%04d" % number
            client.shutdown(plain.SHUT_WR)
            assert client.recv(4) == b""
            client.close()
        assert server.wait() == 0
        assert server.lines[-1] == "stopped: drained 50, cut 0, bytes lost 0"


def test_lost_bytes_are_exit_code_3() -> None:
    with serve("--drain-timeout", str(3 * UNIT), "--drain-idle", "0") as server, server.connect() as client:
        fill(client)
        began = time.monotonic()
        server.signal()
        assert server.wait() == 3
        took = time.monotonic() - began
        assert 3 * UNIT + 1.0 <= took <= 3 * UNIT + 1.0 + 0.5 + 10 * UNIT
        head, lost = server.lines[-1].rsplit(" ", 1)
        assert head == "stopped: drained 0, cut 1, bytes lost"
        found = counters_in(server.lines[-2])
        assert int(lost) == found["bytes_lost"] > 0
        assert found["bytes_received"] == found["bytes_sent"] + found.get("bytes_discarded", 0) + found["bytes_lost"]
        assert server.errors == ""


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [(signal.SIGTERM, signal.SIGTERM, 143), (signal.SIGINT, signal.SIGINT, 130), (signal.SIGTERM, signal.SIGINT, 130)],
)
def test_a_second_signal_ends_the_server_at_once(first: int, second: int, code: int) -> None:
    with serve("--drain-idle", "30") as server, server.connect() as client:
        fill(client)
        server.signal(first)
        wait_until(lambda: is_refused(server.address))
        began = time.monotonic()
        server.signal(second)
        assert server.wait() == code
        assert time.monotonic() - began < 1.0
        _, cut, lost = last_line(server)
        assert cut == 1
        assert lost > 0
        assert server.errors == ""


@pytest.mark.parametrize(
    "further", [signal.SIGHUP, signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.long)]
)
def test_sighup_drains_and_a_further_signal_does_not_cut_the_drain_short(further: int) -> None:
    """A terminal that closes sends several signals, and systemd sends SIGTERM with SIGHUP (SendSIGHUP=)."""
    with serve("--drain-idle", str(5 * UNIT)) as server, server.connect() as client:
        ping(client)
        server.signal(signal.SIGHUP)
        server.signal(further)
        wait_until(lambda: is_refused(server.address))
        ping(client)
        assert read_to_end(client) == b""
        client.close()
        assert server.wait() == 0
        assert last_line(server)[1:] == (0, 0)


def test_nohup_keeps_sighup_ignored() -> None:
    with serve(preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)) as server, server.connect() as client:
        server.signal(signal.SIGHUP)
        gevent.sleep(UNIT)
        ping(client)
        assert not is_refused(server.address)


def test_sighup_and_sigusr1_are_harmless_from_the_start_of_the_process_to_its_end() -> None:
    arguments = [*COMMAND, "serve", "--port", "0"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
        wait_until(lambda: handles_signal(process, signal.SIGHUP) and handles_signal(process, signal.SIGUSR1))
        while not handles_signal(process, signal.SIGTERM):
            process.send_signal(signal.SIGHUP)
            process.send_signal(signal.SIGUSR1)
            gevent.sleep(UNIT / 100)
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"listening on "), "no line comes before it"
        process.terminate()
        while process.poll() is None:
            process.send_signal(signal.SIGUSR1)
            gevent.sleep(UNIT / 1000)
        _, errors = process.communicate(timeout=PATIENCE)
    assert (process.returncode, errors) == (0, b"")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_only_sigterm_and_sigint_end_a_server_that_looks_up_its_address(number: int) -> None:
    arguments = [sys.executable, "-m", "tests.service.scripts.slow_listen"]
    with subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(), cwd=ROOT
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"looking up\n"
        for harmless in (signal.SIGHUP, signal.SIGUSR1):
            process.send_signal(harmless)
        gevent.sleep(UNIT)
        assert process.poll() is None
        process.send_signal(number)
        assert process.communicate(timeout=PATIENCE) == (b"", b"")
    assert process.returncode == 128 + number


def fill(client: socket.socket) -> None:
    """Send without reading until the server stops reading: it has undelivered bytes then."""
    client.setblocking(False)
    quiet_since = time.monotonic()
    while time.monotonic() - quiet_since < 3 * UNIT:
        try:
            client.send(b"x" * 65536)
            quiet_since = time.monotonic()
        except BlockingIOError:
            gevent.sleep(UNIT / 20)
