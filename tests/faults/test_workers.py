"""Limits, queues and stops over several workers."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import socket as plain
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket
from gevent.event import Event

from tests.support.commands import command
from tests.support.servers import Process, capacity, ping, read_to_end, serve, time_until_refused
from tests.support.timing import PATIENCE, UNIT, median_of, wait_until
from tests.support.workers import count_now, open_sockets, worker_of, workers

MIB = 1 << 20


def connect_from(server: Process, source: str) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.settimeout(PATIENCE)
    client.bind((source, 0))
    client.connect(server.address.sockaddr)
    return client


@contextlib.contextmanager
def connected(server: Process, count: int) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as clients:
        yield [clients.enter_context(server.connect()) for _ in range(count)]


def is_served(client: socket.socket) -> bool:
    """Whether a worker serves the client; a refused client reads FIN or a reset."""
    try:
        client.sendall(b"ping")
        return bool(client.recv(4))
    except ConnectionError:
        return False


def test_a_worker_has_at_most_1_3_times_its_share_of_the_connections() -> None:
    with serve("--workers", "2") as server, connected(server, 1000) as clients:
        for client in clients:
            ping(client)
        pids = workers(server)
        held = {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in pids}
        assert max(held.values()) - min(held.values()) < 0.3 * 1000, held  # 650 and 350
        assert count_now(server)["open"] == 1000


def test_a_new_worker_gets_most_of_the_next_connections() -> None:
    with serve("--workers", "2") as server, connected(server, 200) as clients:
        for client in clients:
            ping(client)
        victim, other = workers(server)
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: count_now(server)["restarts"] == 1 and len(workers(server)) == 2)
        (new,) = set(workers(server)) - {other}
        wait_until(lambda: os.path.exists(f"/proc/{new}/fd") and open_sockets(new) == 1)  # its listener
        with contextlib.ExitStack() as more:
            for _ in range(60):
                ping(more.enter_context(server.connect()))
            assert open_sockets(new) - 1 >= 45  # an even split gives 30


def test_max_connections_holds_for_each_worker() -> None:
    with serve("--workers", "2", "--max-connections", "25") as server:
        assert capacity(server).startswith("capacity 2 x 25 connections")
        with connected(server, 80) as clients:
            served = [client for client in clients if is_served(client)]
            assert len(served) == 50
            counts = count_now(server)
            assert (counts["open"], counts["refused_full"], counts["accepted"]) == (50, 30, 80)
            served[0].close()
            wait_until(lambda: count_now(server)["open"] == 49)
            with connected(server, 6) as more:  # one slot is free, in one of the two workers
                wait_until(lambda: count_now(server)["accepted"] == 86)
                assert sum(map(is_served, more)) <= 1
        assert server.stop() == 0


def test_max_per_address_holds_for_each_worker() -> None:
    with serve("--workers", "2", "--max-per-address", "3") as server, contextlib.ExitStack() as open_clients:
        sources = [f"127.0.0.{number}" for number in range(1, 6)]
        clients = {
            source: [open_clients.enter_context(connect_from(server, source)) for _ in range(count)]
            for source, count in zip(sources, (20, 2, 2, 2, 2), strict=True)
        }
        assert 3 <= sum(map(is_served, clients["127.0.0.1"])) <= 6
        for source in sources[1:]:
            assert all(map(is_served, clients[source])), source
        counts = count_now(server)
        assert counts["accepted"] == 28
        assert counts["refused_address_full"] == 28 - counts["open"]
        assert "Traceback" not in server.errors


def sk_drops(listener: plain.socket) -> int:
    """The kernel's own count of connects that a listener has dropped (SO_MEMINFO, linux/sock_diag.h)."""
    return int(struct.unpack("=9I", listener.getsockopt(plain.SOL_SOCKET, 55, 36))[-1])


def test_drops_of_the_accept_queue_are_counted_once() -> None:
    with plain.create_server(("127.0.0.1", 0), backlog=4) as listener:
        fd = listener.fileno()
        with serve(f"fd:{fd}", "--workers", "2", "--backlog", "4", pass_fds=(fd,)) as server:
            pids = workers(server)
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            sockets = [plain.socket() for _ in range(30)]
            for client in sockets:
                client.setblocking(False)
                client.connect_ex(listener.getsockname())
            wait_until(lambda: sk_drops(listener) >= 20)
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            wait_until(lambda: count_now(server).get("queue_drops", 0) > 0)
            assert workers(server) == pids
            for client in sockets:
                client.close()
            assert count_now(server)["queue_drops"] == sk_drops(listener)
            assert server.stop() == 0


def is_listening(server: Process) -> bool:
    """Whether a listener has the server's port (state 0A of /proc/net/tcp). A connect would be one more client."""
    port = f":{server.address.port:04X}"
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(port) and row[3] == "0A" for row in rows)


def test_bulk_transfers_finish_in_a_drain() -> None:
    """The second half of each transfer comes in the drain."""
    data = os.urandom(4 * MIB)
    half = len(data) // 2
    digest = hashlib.sha256(data).hexdigest()
    is_draining = Event()

    def transfer(client: socket.socket) -> str:
        sending = gevent.spawn(send, client)
        received = read_to_end(client)
        sending.get()
        return hashlib.sha256(received).hexdigest()

    def send(client: socket.socket) -> None:
        client.sendall(data[:half])
        is_draining.wait()
        client.sendall(data[half:])
        client.shutdown(socket.SHUT_WR)

    with serve("--workers", "2", "--drain-idle", "60") as server, connected(server, 8) as clients:
        transfers = [gevent.spawn(transfer, client) for client in clients]
        wait_until(lambda: count_now(server).get("bytes_sent", 0) > MIB)
        server.signal()
        wait_until(lambda: not is_listening(server))
        is_draining.set()
        assert [running.get() for running in transfers] == [digest] * 8
        assert server.wait() == 0
        assert server.lines[-1] == "stopped: drained 8, cut 0, bytes lost 0"


@pytest.mark.alone
def test_the_processes_exit_soon_after_the_last_client() -> None:
    def measure() -> float:
        with serve("--workers", "2", "--drain-idle", "60") as server, connected(server, 10) as clients:
            for client in clients:
                ping(client)
            server.signal()
            time_until_refused(server.address)
            for client in clients:
                client.close()
            began = time.monotonic()
            assert server.popen.wait(PATIENCE) == 0
            return time.monotonic() - began

    median_of(3, measure, 0.3, "last client to end")


@pytest.mark.alone
def test_the_listener_is_closed_within_50_ms_of_the_signal() -> None:
    def measure() -> float:
        with serve("--workers", "2") as server, connected(server, 10) as clients:
            for client in clients:
                ping(client)
            server.signal()
            taken = time_until_refused(server.address)
            server.signal()
            server.wait()
            return taken

    median_of(3, measure, 0.05, "signal to refusal")


def test_open_clients_are_cut_at_the_drain_timeout_and_not_before() -> None:
    with serve("--workers", "2", "--drain-timeout", str(3 * UNIT), "--drain-idle", "60") as server:
        with connected(server, 2) as clients:
            for client in clients:
                ping(client)
            server.signal()
            began = time.monotonic()
            assert read_to_end(clients[0]) == b""
            assert time.monotonic() - began > 2.9 * UNIT
        assert server.wait() == 0
        assert server.lines[-1].endswith("cut 2, bytes lost 0")


def test_a_second_server_on_the_same_address_is_refused() -> None:
    with serve("--workers", "2") as server:
        done = command(["serve", "--workers", "2", "--listen", server.target])
        assert done.returncode == 1
        assert b"another process has this address" in done.stderr
        with server.connect() as client:
            ping(client)


def test_a_stopped_worker_does_not_disturb_clients_of_the_others() -> None:
    with serve("--workers", "2") as server, connected(server, 6) as clients:
        for client in clients:
            ping(client)
        victim = worker_of(server, clients[0])
        others = [client for client in clients if worker_of(server, client) != victim]
        os.kill(victim, signal.SIGSTOP)
        with connected(server, 6) as fresh:
            for client in (*fresh, *others):
                ping(client)
        os.kill(victim, signal.SIGKILL)
        assert server.stop() == 0
