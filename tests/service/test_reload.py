"""SIGHUP of several workers: new ones take over, old ones drain, and no connect fails."""

from __future__ import annotations

import os
import signal
import socket as plain
import threading
import time
from pathlib import Path

import gevent
import pytest

from tests.support import ROOT
from tests.support.servers import Process, ping, read_exactly, serve
from tests.support.timing import PATIENCE, UNIT, wait_until
from tests.support.tls import AUTHORITY, Files, secured
from tests.support.workers import count_now, workers

RATE = 500


def reloads(server: Process) -> int:
    return sum(line.startswith("reloaded: ") for line in server.lines)


def reload(server: Process) -> None:
    """Send SIGHUP, and wait until the old workers have ended."""
    old, before = set(workers(server)), reloads(server)
    server.signal(signal.SIGHUP)
    wait_until(lambda: reloads(server) == before + 1, goal=f"a reload: {server.errors}")
    wait_until(lambda: not old & set(workers(server)), goal="the end of the old workers")


def connect_at(server: Process, rate: int, seconds: float, failures: list[str]) -> int:
    """Connect, echo once and close, at a steady rate from four threads; returns how many connections there were."""
    address = (server.address.host, server.address.port)
    made = []

    def run(first: int) -> None:
        began, number = time.monotonic(), first
        while (due := number / rate) < seconds:
            time.sleep(max(0.0, began + due - time.monotonic()))
            number += 4
            try:
                with plain.create_connection(address, PATIENCE) as client:
                    client.sendall(b"x" * 100)
                    received = b""
                    while len(received) < 100:
                        chunk = client.recv(100)
                        if not chunk:
                            raise ConnectionError("FIN within an echo")
                        received += chunk
            except OSError as error:
                failures.append(repr(error))
            made.append(number)

    threads = [threading.Thread(target=run, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        gevent.sleep(0.02)
    return len(made)


@pytest.mark.parametrize(
    ("seconds", "times"), [(3.0, 3), pytest.param(20.0, 20, marks=pytest.mark.long)], ids=["short", "ten-thousand"]
)
def test_no_connect_fails_in_reloads(seconds: float, times: int) -> None:
    failures: list[str] = []
    with serve("--workers", "2", "--drain-idle", str(3 * UNIT)) as server:
        load = gevent.get_hub().threadpool.spawn(connect_at, server, RATE, seconds, failures)
        for _ in range(times):
            gevent.sleep(seconds / (times + 1))
            server.signal(signal.SIGHUP)
        made = load.get()
        wait_until(lambda: reloads(server) >= 1)
        assert failures == []
        assert made == int(RATE * seconds)
        counts = server.stop_and_count()
        assert (counts["accepted"], counts["bytes_sent"]) == (made, 100 * made)
        assert "ended_killed" not in counts
        assert server.errors == ""


def test_a_connection_in_use_survives_a_reload() -> None:
    with serve("--workers", "2", "--drain-idle", "2") as server, server.connect() as client:
        ping(client)
        old = set(workers(server))
        server.signal(signal.SIGHUP)
        wait_until(lambda: reloads(server) == 1)
        for _ in range(30):
            client.sendall(b"y" * 1000)
            assert read_exactly(client, 1000) == b"y" * 1000
            gevent.sleep(UNIT)
        assert len(old & set(workers(server))) == 1
        client.close()
        wait_until(lambda: not old & set(workers(server)))
        assert server.stop() == 0


def test_the_configuration_is_read_anew(tmp_path: Path) -> None:
    config = tmp_path / "serve.conf"
    config.write_text("workers = 2\nmax-connections = 1\n")
    with serve("--config", str(config), "--drain-timeout", "0") as server:
        config.write_text("workers = 1\nmax-connections = 2\n")
        reload(server)
        assert len(workers(server)) == 1
        with server.connect() as first, server.connect() as second, server.connect() as third:
            ping(first)
            ping(second)
            assert third.recv(1) == b""
        assert count_now(server)["refused_full"] == 1
        assert server.stop() == 0


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("max-connections = many", "argument --max-connections"),
        ("no-such-option = 1", "no-such-option"),
        ("host = two words", "argument --host"),
        ("backlog = 7", "only a restart can change --backlog"),
        pytest.param("log-format = json", "only a restart can change --log-format", marks=pytest.mark.long),
    ],
)
def test_a_configuration_that_cannot_be_used_keeps_the_old_workers(tmp_path: Path, line: str, reason: str) -> None:
    config = tmp_path / "serve.conf"
    config.write_text("workers = 2\n")
    with serve("--config", str(config)) as server:
        before = workers(server)
        config.write_text(f"workers = 2\n{line}\n")
        server.signal(signal.SIGHUP)
        wait_until(lambda: "the configuration was not reloaded, the old one stays in use" in server.errors)
        assert reason in server.errors
        assert "Traceback" not in server.errors
        assert workers(server) == before
        config.write_text("workers = 2\n")
        reload(server)
        assert server.stop() == 0


def test_a_reload_cannot_change_the_address(tmp_path: Path) -> None:
    config = tmp_path / "serve.conf"
    config.write_text("listen = 127.0.0.1:0\nworkers = 1\n")
    with Process("-m", "geventecho", "serve", "--config", str(config)) as server:
        config.write_text("listen = [::1]:0\nworkers = 1\n")
        server.signal(signal.SIGHUP)
        wait_until(lambda: "only a restart can change the addresses" in server.errors)
        with server.connect() as client:
            ping(client)
        assert server.stop() == 0


def test_a_reload_cannot_do_without_workers(tmp_path: Path) -> None:
    config = tmp_path / "serve.conf"
    config.write_text("workers = 2\n")
    with serve("--config", str(config)) as server:
        before = workers(server)
        config.write_text("backlog = 65535\n")
        server.signal(signal.SIGHUP)
        wait_until(lambda: "only a restart can change --workers" in server.errors)
        assert workers(server) == before
        assert server.stop() == 0


def test_certificates_are_read_anew(pem: Files) -> None:
    def serial() -> str:
        with secured(server.connect()) as client:
            ping(client)
            return str(client.getpeercert()["serialNumber"])

    with serve("--workers", "2", *pem.options) as server:
        first = serial()
        pem.write(AUTHORITY.issue_cert("localhost"))
        reload(server)
        second = serial()
        assert second != first
        pem.key.write_text("nonsense")
        server.signal(signal.SIGHUP)
        wait_until(lambda: "not reloaded" in server.errors)
        assert f"--tls-key: there is no private key in {pem.key}" in server.errors
        assert serial() == second
        assert server.stop() == 0


def test_new_workers_that_cannot_start_leave_the_old_ones_in_place(tmp_path: Path) -> None:
    """Each new worker fails at its own start, as with a limit on processes."""
    with Process("-m", "tests.service.scripts.stuck_workers", "broken-later", cwd=ROOT) as server:
        before = workers(server)
        server.signal(signal.SIGHUP)
        wait_until(lambda: "the reload failed" in server.errors)
        wait_until(lambda: workers(server) == before)
        with server.connect() as client:
            ping(client)
        assert server.stop() == 0


def test_reloads_during_a_reload_leave_two_workers() -> None:
    with serve("--workers", "2") as server:
        seen = set(workers(server))
        for _ in range(5):
            server.signal(signal.SIGHUP)
            gevent.sleep(UNIT / 5)
            seen.update(workers(server))
        wait_until(lambda: len(workers(server)) == 2 and reloads(server) >= 1)
        seen.update(workers(server))
        with server.connect() as client:
            ping(client)
        assert server.stop() == 0
        assert server.errors == ""
    assert not [pid for pid in seen if os.path.exists(f"/proc/{pid}")]
