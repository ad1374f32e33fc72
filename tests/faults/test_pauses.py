"""Scenarios of a process that stands still for longer than its limits: by SIGSTOP, or by a handler that blocks."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from geventecho.server.tcp_server import TcpServer
from tests.support.servers import LOCAL, dial, is_refused, ping, read_to_end, running
from tests.support.timing import PATIENCE, UNIT, wait_until
from tests.support.watch import Counted, counted, send_until_full

pytestmark = pytest.mark.faults


class Busy:
    """Clients that each send 8 bytes every `every` seconds, then half-close and read to the end."""

    def __init__(self, server: Counted, count: int, every: float) -> None:
        self._server, self._count, self._every = server, count, every
        self._is_over = False
        self.connected = 0
        self._clients = [gevent.spawn(self._run, number / count * every) for number in range(count)]
        wait_until(lambda: self.connected == count)

    def _run(self, delay: float) -> bool:
        """Whether every byte came back."""
        sent = 0
        with self._server.connect() as client:
            self.connected += 1
            reading = gevent.spawn(read_to_end, client)
            gevent.sleep(delay)
            while not self._is_over:
                client.sendall(b"12345678")
                sent += 8
                gevent.sleep(self._every)
            client.shutdown(socket.SHUT_WR)
            return len(reading.get()) == sent

    def end_and_count_failures(self) -> int:
        """End the clients; returns how many of them did not get every byte back."""
        self._is_over = True
        gevent.joinall(self._clients)
        return sum(client.value is not True for client in self._clients)


def pause(server: Counted, seconds: float, times: int = 1) -> None:
    """Stop the process for `seconds` and let it run for 5 ms, `times` times."""
    for _ in range(times):
        server.signal(signal.SIGSTOP)
        gevent.sleep(seconds)
        server.signal(signal.SIGCONT)
        gevent.sleep(0.005)


LIMIT = 10 * UNIT


@pytest.mark.parametrize(
    ("options", "count", "times"),
    [
        ({"idle_timeout": LIMIT}, 500, 2),
        pytest.param({"idle_timeout": 3 * LIMIT}, 2000, 2, marks=pytest.mark.long),
        ({"first_byte_timeout": LIMIT}, 500, 1),
        ({"idle_timeout": LIMIT, "handler": "plain"}, 100, 1),
        ({"idle_timeout": LIMIT, "address": "unix:{folder}/socket"}, 100, 1),
    ],
    ids=["idle", "idle, 2,000 clients", "first byte", "handler", "unix"],
)
def test_a_pause_longer_than_a_limit_ends_no_busy_connection(
    options: dict[str, Any], count: int, times: int, tmp_path: Path
) -> None:
    if "address" in options:
        options = options | {"address": options["address"].format(folder=tmp_path)}
    limit = options.get("idle_timeout") or options["first_byte_timeout"]
    with counted(**options) as server:
        busy = Busy(server, count, 0.3 * limit)
        pause(server, 1.3 * limit, times)
        gevent.sleep(0.3 * limit)
        assert busy.end_and_count_failures() == 0
        found = server.wait_for(open=0)
        assert found["ended_idle"] == found["ended_first_byte"] == found["bytes_discarded"] == 0


def test_a_pause_in_a_drain_cuts_no_active_client() -> None:
    with counted(drain_idle=LIMIT) as server:
        busy = Busy(server, 50, 0.3 * LIMIT)
        server.signal(signal.SIGTERM)
        wait_until(lambda: is_refused(server.address))
        pause(server, 1.3 * LIMIT, times=2)
        gevent.sleep(0.3 * LIMIT)
        assert busy.end_and_count_failures() == 0
        assert server.wait() == 0
        assert server.last_report()["bytes_discarded"] == 0


def test_a_pause_longer_than_a_drain_takes_no_time_from_a_client() -> None:
    """One pause comes before the drain timeout, the other one while a client takes its last bytes after it."""
    drain = 5 * UNIT
    with counted(drain_idle=LIMIT, drain_timeout=drain) as server, server.connect() as client:
        send_until_full(client)
        server.signal(signal.SIGTERM)
        gevent.sleep(UNIT)
        pause(server, 2 * drain)
        gevent.sleep(drain)
        pause(server, 1.5)
        client.settimeout(PATIENCE)
        received = len(read_to_end(client))
        client.close()
        server.wait()
        found = server.last_report()
        assert found["bytes_lost"] == 0
        assert received == found["bytes_sent"] - 4


def test_a_silent_client_is_ended_soon_after_a_pause() -> None:
    with counted(idle_timeout=4 * UNIT) as server, server.connect() as client:
        ping(client)
        pause(server, 10 * UNIT)
        began = time.monotonic()
        assert read_to_end(client) == b""
        assert time.monotonic() - began <= 4 * UNIT + 0.3


def test_a_handler_that_blocks_the_hub_ends_no_other_connection() -> None:
    """It blocks in the turn of the loop that reads the others, so their bytes are stamped with the time before it."""

    def handler(sock: socket.socket, _peer: object) -> None:
        while data := sock.recv(100):
            if data == b"hold":
                time.sleep(8 * UNIT)  # not gevent.sleep: the hub does not run
            sock.sendall(data)

    with running(TcpServer(LOCAL, handler, idle_timeout=5 * UNIT)) as server:
        holder, *others = (dial(server) for _ in range(20))
        for client in others:
            ping(client)
        for client in (holder, *others):
            client.sendall(b"hold" if client is holder else b"more")
        gevent.sleep(4 * UNIT)
        for client in others:
            assert client.recv(4) == b"more"
            ping(client)
            client.close()
        holder.close()
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_idle"] == 0
