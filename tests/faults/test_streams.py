"""Scenarios of streams: half-closed, ended by the server, sent before anything is read, in single bytes, a gigabyte."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time
from typing import Any

import gevent
import pytest

import geventecho
from tests.support.timing import PATIENCE, UNIT, figure, wait_until
from tests.support.watch import KIB, MIB, Counted, counted, half_close, in_threads, witness

pytestmark = pytest.mark.faults


def test_a_half_closed_stream_gets_every_byte_and_a_fin() -> None:
    with counted() as server:
        with witness(server) as sight:
            for size in (0, 1, 64 * KIB, 64 * MIB):
                half_close(server, size)
        found = server.wait_for(open=0)
        assert found["ended_peer"] == found["accepted"]
        assert found["bytes_lost"] == found["bytes_discarded"] == 0
        figure("witness p99 beside half-closed streams, ms", sight.p99)


def keep_sending(server: Counted, pause: float) -> tuple[bool, int]:
    """Send all the time and read after each pause; returns (whether a FIN came, bytes received)."""
    client = server.plain_connect()
    with client:
        client.settimeout(PATIENCE)
        ended = False

        def send() -> None:
            with contextlib.suppress(OSError):
                while not ended:
                    client.sendall(b"x" * 1000)
                    time.sleep(0.001)

        sender = threading.Thread(target=send)
        sender.start()
        received = 0
        try:
            while True:
                time.sleep(pause)
                chunk = client.recv(MIB)
                received += len(chunk)
                if not chunk:
                    return True, received
        except OSError:
            return False, received
        finally:
            ended = True
            with contextlib.suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)
            sender.join()


@pytest.mark.parametrize(
    "limit",
    [{"lifetime": 5 * UNIT}, {"max_bytes": 200_000}, {"drain_timeout": 3 * UNIT}],
    ids=lambda limit: next(iter(limit)),
)
def test_a_close_by_the_server_loses_no_received_byte(limit: dict[str, Any]) -> None:
    with counted(**limit) as server:
        clients = gevent.spawn(in_threads, keep_sending, [(server, 0.05)] * 20)
        if "drain_timeout" in limit:
            server.wait_for(open=20)
            wait_until(lambda: server.counters()["bytes_sent"] > 200_000)
            server.signal()
            assert server.wait() == 0
        done = clients.get(timeout=PATIENCE)
        complete = sum(fin for fin, _ in done)
        found = server.wait_for(open=0) if server.popen.poll() is None else server.last_report()
        assert complete == 20
        assert sum(received for _, received in done) == found["bytes_sent"] - 4
        assert found["bytes_lost"] == 0
        figure(f"clients that got all their bytes and a FIN, {next(iter(limit))}", f"{complete} of 20")


def test_only_a_client_that_reads_while_it_sends_gets_256_mib_back() -> None:
    with counted() as server:
        base = server.memory
        with witness(server) as sight, geventecho.connect(server.target) as client:
            payload = bytes(range(256)) * MIB
            began = time.monotonic()
            client.echo(payload, timeout=6 * PATIENCE)
            took = time.monotonic() - began
        figure("256 MiB in one echo() call, s", round(took, 2))
        with server.connect() as naive:
            naive.settimeout(10 * UNIT)
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                naive.sendall(payload)
            figure("a naive client gives up after, of its timeout of 1 s", round(time.monotonic() - began, 2))
            assert time.monotonic() - began < PATIENCE
            grown = server.memory - base
        figure("server memory grew by, KiB", grown // KIB)
        assert grown <= 8 * MIB
    assert sight.pings > 10


@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=pytest.mark.long)])
def test_one_byte_segments_come_back_and_cost_little_cpu(count: int) -> None:
    payload = random.Random(14).randbytes(count)

    def send(client: socket.socket) -> None:
        for value in payload:
            client.send(bytes((value,)))

    def receive(client: socket.socket) -> bytes:
        received = bytearray()
        while len(received) < len(payload) and (chunk := client.recv(65536)):
            received += chunk
        return bytes(received)

    with counted() as server, witness(server) as sight:
        with server.plain_connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            before, began = server.cpu_seconds, time.monotonic()
            sending = gevent.get_hub().threadpool.spawn(send, client)
            assert gevent.get_hub().threadpool.spawn(receive, client).get() == payload
            sending.get()
            took, cpu = time.monotonic() - began, server.cpu_seconds - before
        figure(f"one-byte segments a second / server CPU s per {count:,}", f"{count / took:.0f} / {cpu:.2f}")
        assert cpu <= count * 0.0003
    assert sight.gap < 1000


@pytest.mark.parametrize("size", [256 * MIB, pytest.param(1024 * MIB, marks=pytest.mark.long)])
def test_a_large_stream_on_one_connection_keeps_memory_flat(size: int) -> None:
    with counted() as server:
        half_close(server, 4 * MIB)
        base = most = server.memory
        with witness(server) as sight:
            streaming = gevent.spawn(half_close, server, size)
            while not streaming.ready():
                most = max(most, server.memory)
                gevent.sleep(0.05)
            streaming.get()
        figure(f"memory at the most, {size // MIB} MiB on one connection, MiB more", round((most - base) / MIB, 2))
        assert most - base <= 8 * MIB
    assert sight.gap < 1000


def test_ten_thousand_messages_of_random_sizes_come_back_unchanged() -> None:
    generator = random.Random(16)
    block = generator.randbytes(400_002)
    with counted() as server, geventecho.connect(server.target) as client:
        for _ in range(10_000):
            start = generator.randint(0, 200_000)
            client.echo(block[start : start + generator.randint(1, 200_001)])
        client.close()
