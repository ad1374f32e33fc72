"""Scenarios of slow peers: they never read, read slowly, trickle, freeze or stay silent."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time

import gevent
import pytest
from gevent import socket as cooperative

from tests.support import ROOT
from tests.support.servers import read_to_end
from tests.support.timing import PATIENCE, UNIT, figure
from tests.support.watch import KIB, MIB, RST, Counted, counted, witness

pytestmark = pytest.mark.faults


def wait_open(server: Counted, count: int, seconds: float = PATIENCE) -> float:
    """Wait until `count` connections are open; returns the seconds that this took."""
    began = time.monotonic()
    while server.counters()["open"] != count:
        assert time.monotonic() - began < seconds, server.counters()
        gevent.sleep(0.01)
    return time.monotonic() - began


@pytest.mark.alone
def test_two_hundred_clients_that_never_read_are_ended_in_time_and_cost_little_memory() -> None:
    stall, count = 15 * UNIT, 200
    with counted(write_stall=stall) as server, witness(server) as sight:
        base = server.memory
        clients = []
        for _ in range(count):
            client = cooperative.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect((server.address.host, server.address.port))
            client.setblocking(False)
            clients.append(client)
        sent, last = 0, time.monotonic()
        while time.monotonic() - last < UNIT:
            for client in clients:
                with contextlib.suppress(OSError):
                    while True:
                        sent += client.send(b"x" * 65536)
                        last = time.monotonic()
            gevent.sleep(0.002)
        each = (server.memory - base) / count
        wait_open(server, 1, stall + 0.5 + PATIENCE / 2)
        late = time.monotonic() - last - stall
        for client in clients:
            client.close()
        found = server.counters()
        assert found["ended_write_stall"] == count
        figure("memory of a client that never reads, KiB", round(each / KIB, 1))
        figure("the last of 200 was ended after its write stall by, s", round(late, 2))
        assert each <= 80 * KIB
        assert late <= 0.5 + 5 * UNIT
    assert sight.gap < 1000


@pytest.mark.long
@pytest.mark.alone
def test_a_hundred_slow_readers_with_progress_are_never_ended() -> None:
    """Each reads 4 KiB every 20 ms, for 1.5 times the limit. A plain sendall() would end them at its timeout."""
    # A client's kernel announces new room after several reads only, and the machine may do other work meanwhile.
    stall = 30 * UNIT
    payload = b"x" * (16 * MIB)
    with counted(write_stall=stall) as server:

        def reads_slowly() -> bool:
            """Whether the server ended this client."""
            with server.connect() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                sending = gevent.spawn(send_quietly, client, payload)
                try:
                    end = time.monotonic() + 1.5 * stall
                    while time.monotonic() < end:
                        if not client.recv(4096):
                            return True
                        gevent.sleep(0.02)
                except OSError:
                    return True
                finally:
                    sending.kill()
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
            return False

        readers = [gevent.spawn(reads_slowly) for _ in range(100)]
        premature = sum(reader.get() for reader in readers)
        figure("slow readers ended before their time", f"{premature} of 100")
        assert premature == server.wait_for(open=0)["ended_write_stall"] == 0


def read_steadily(client: cooperative.socket, rate: int, seconds: float) -> int:
    """Read `rate` bytes a second; returns how many were read.

    Raises:
        OSError: the server reset the connection.
        AssertionError: the server ended the connection.
    """
    received, began = 0, time.monotonic()
    while (passed := time.monotonic() - began) < seconds:
        if received < rate * passed:
            chunk = client.recv(512)
            assert chunk, f"the client was ended after {passed:.1f} s"
            received += len(chunk)
        else:
            gevent.sleep(0.01)
    return received


@pytest.mark.parametrize("handler", [None, "plain"], ids=["echo", "handler"])
@pytest.mark.parametrize(
    ("rate", "stall"),
    [
        (32 * KIB, 10 * UNIT),
        pytest.param(8 * KIB, 4, marks=pytest.mark.long),
        pytest.param(2 * KIB, 10, marks=pytest.mark.long),
        pytest.param(2000, 60, marks=[pytest.mark.long, pytest.mark.timeout(400)]),
    ],
)
def test_a_slow_but_steady_reader_is_ended_only_after_it_stops(rate: int, stall: float, handler: str | None) -> None:
    """A socket becomes writable once its peer has taken some 64 KiB. Most of these peers take less in a write stall."""
    with counted(write_stall=stall, handler=handler) as server, cooperative.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * KIB)
        client.connect((server.address.host, server.address.port))
        sending = gevent.spawn(send_quietly, client, b"x" * (4 * MIB))
        assert read_steadily(client, rate, 2.5 * stall) >= 2 * rate * stall
        assert server.counters()["ended_write_stall"] == 0
        stopped = time.monotonic()
        wait_open(server, 0, stall + PATIENCE)
        took = time.monotonic() - stopped
        sending.kill()
        figure(f"ended after its last read, of a write stall of {stall:g} s", round(took, 2))
        # The peer's window opens in steps: for the last time with the last read, or up to a step before it.
        step = 14 * KIB / rate
        assert stall - step - UNIT <= took <= stall + step + 0.3 + 2 * UNIT
        assert server.counters()["ended_write_stall"] == 1


def send_quietly(client: cooperative.socket, payload: bytes) -> None:
    with contextlib.suppress(OSError):
        client.sendall(payload)


def test_a_frozen_client_with_a_closed_window_is_ended_by_the_write_stall() -> None:
    """Its kernel still acknowledges the probes of its closed window, so keep-alive does not find it."""
    stall = 15 * UNIT
    with counted(write_stall=stall) as server, witness(server) as sight:
        host, port = server.address.host, str(server.address.port)
        arguments = [sys.executable, "-m", "tests.faults.scripts.never_reads", host, port]
        with subprocess.Popen(
            arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as client:  # fmt: skip
            try:
                assert client.stdout is not None
                assert client.stdout.readline() == "ready\n"
                began = time.monotonic()
                client.send_signal(signal.SIGSTOP)
                took = wait_open(server, 1, stall + PATIENCE)
                assert server.counters()["ended_write_stall"] == 1
                figure(f"freed after the freeze, of a write stall of {stall:g} s", f"{took:.2f} s")
                assert time.monotonic() - began <= stall + 0.5 + 5 * UNIT
            finally:
                client.kill()
    assert sight.gap < 1000


def trickle(clients: int, every: float, seconds: float) -> None:
    """Check that clients with a byte every `every` seconds are not ended, cost little memory and delay no ping."""
    with counted(idle_timeout=3 * every) as server:
        with witness(server) as alone:
            gevent.sleep(seconds / 2)
        base = server.memory
        with witness(server) as beside:
            held = [server.connect() for _ in range(clients)]
            end, turn = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                # Each client sends one byte in a round, spread evenly over the round.
                began = time.monotonic()
                for index, client in enumerate(held):
                    client.sendall(b"x")
                    if turn:
                        assert client.recv(2)
                    if index % 20 == 0:
                        gevent.sleep(max(0.0, began + every * index / clients - time.monotonic()))
                turn += 1
            each = (server.memory - base) / clients
            found = server.counters()
            assert found["open"] == clients + 1
            assert found["ended_idle"] == 0
            for client in held:
                client.close()
        figure(f"witness p99 alone / beside {clients} tricklers, ms", f"{alone.p99} / {beside.p99}")
        figure("memory of a trickling client, KiB", round(each / KIB, 1))
        assert each <= 20 * KIB
        assert beside.p99 <= max(1.2 * alone.p99, alone.p99 + 50)


@pytest.mark.alone
def test_a_thousand_tricklers_are_not_ended_and_cost_little() -> None:
    trickle(1000, 7 * UNIT, 15 * UNIT)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_thousand_tricklers_with_a_byte_in_five_seconds_are_not_ended() -> None:
    trickle(1000, 5, 60)


def test_two_thousand_silent_clients_are_ended_at_the_first_byte_timeout() -> None:
    limit = 10 * UNIT
    with counted(first_byte_timeout=limit) as server, witness(server) as sight:
        clients = [server.connect() for _ in range(2000)]
        last = time.monotonic()
        for client in clients:
            assert read_to_end(client) == b""
            client.close()
        took = time.monotonic() - last
        found = server.wait_for(open=1)
        assert found["ended_first_byte"] == 2000
        figure(f"2,000 silent clients all ended after, of a limit of {limit:g} s", round(took, 2))
        assert limit - UNIT <= took <= limit + 1 + 5 * UNIT
    assert sight.gap < 1000
