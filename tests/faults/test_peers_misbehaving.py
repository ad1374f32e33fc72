"""Scenarios of peers: reset, half-close, never read, trickle, freeze, storm. Each with a witness beside it."""

from __future__ import annotations

import contextlib
import hashlib
import random
import signal
import socket
import subprocess
import sys
import time

import gevent
import pytest
from gevent import socket as cooperative
from servers import ping, read_to_end
from timing import PATIENCE, UNIT, wait_until
from watch import KIB, MIB, RST, Counted, attack, best_of, counted, figure, in_threads, reset, witness

import geventecho

pytestmark = pytest.mark.faults

# It stops when nothing has moved for a while: then every buffer is full, and the server owes it bytes that fit nowhere.
FREEZES = """
import select, socket, sys
sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
sock.connect((sys.argv[1], int(sys.argv[2])))
sock.setblocking(False)
while select.select([], [sock], [], 0.5)[1]:
    sock.send(b"x" * 65536)
print("ready", flush=True)
sys.stdin.read()
"""


def send_until_full(client: socket.socket, quiet: float = UNIT) -> int:
    """Send without reading until the server's side takes no more; returns how many bytes went."""
    client.setblocking(False)
    sent, last = 0, time.monotonic()
    while time.monotonic() - last < quiet:
        try:
            sent += client.send(b"x" * 65536)
            last = time.monotonic()
        except BlockingIOError:
            gevent.sleep(0.005)
    return sent


def wait_open(server: Counted, count: int, seconds: float = PATIENCE) -> float:
    """Seconds until so many connections are open."""
    began = time.monotonic()
    while server.counters()["open"] != count:
        assert time.monotonic() - began < seconds, server.counters()
        gevent.sleep(0.01)
    return time.monotonic() - began


# 1 --------------------------------------------------------------------------------------------------------------------


def test_01_reset_in_the_middle_of_an_echo_a_thousand_times() -> None:
    def once() -> float:
        with counted() as server:
            with witness(server) as sight:
                attack(server, "resets", 250)
            found = server.wait_for(open=0)
            assert found["ended_reset"] + found["ended_peer"] == found["accepted"]
            assert found["ended_reset"] >= 900
            assert server.errors == ""
        return sight.gap

    best_of(3, once, 50, "1: witness max gap beside 1,000 resets, ms")


# 2 --------------------------------------------------------------------------------------------------------------------


def half_close(server: Counted, size: int) -> None:
    """Send so many bytes from one thread, half-close, read to the end in this one, compare the hashes."""
    block = random.Random(size).randbytes(min(size, MIB))
    sent, received, count = hashlib.sha256(), hashlib.sha256(), 0
    with server.plain_connect() as client:

        def send() -> None:
            for start in range(0, size, MIB):
                piece = block[: size - start]
                client.sendall(piece)
                sent.update(piece)
            client.shutdown(socket.SHUT_WR)

        sending = gevent.get_hub().threadpool.spawn(send)
        buffer = bytearray(256 * KIB)

        def receive() -> None:
            nonlocal count
            while got := client.recv_into(buffer):
                received.update(memoryview(buffer)[:got])
                count += got

        gevent.get_hub().threadpool.spawn(receive).get()
        sending.get()
    assert count == size
    assert received.digest() == sent.digest()


def test_02_half_close_returns_all_and_a_fin() -> None:
    with counted() as server:
        with witness(server) as sight:
            for size in (0, 1, 64 * KIB, 64 * MIB):
                half_close(server, size)
        found = server.wait_for(open=0)
        assert found["ended_peer"] == found["accepted"]
        assert found["bytes_lost"] == found["bytes_discarded"] == 0
        figure("2: witness p99 beside half-closed streams, ms", sight.p99)


# 3 --------------------------------------------------------------------------------------------------------------------


def keep_sending(server: Counted, pause: float) -> tuple[bool, int]:
    """Sends all the time, reads after a pause; (whether a FIN came, bytes received)."""
    client = server.plain_connect()
    with client:
        client.settimeout(PATIENCE)
        ended = False

        def send() -> None:
            with contextlib.suppress(OSError):
                while not ended:
                    client.sendall(b"x" * 1000)
                    time.sleep(0.001)

        import threading

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
def test_03_a_close_by_the_server_loses_nothing_that_is_owed(limit: dict[str, float]) -> None:
    with counted(**limit) as server:
        clients = gevent.spawn(in_threads, keep_sending, [(server, 0.05)] * 20)
        if "drain_timeout" in limit:
            server.wait_for(open=20)
            gevent.sleep(UNIT)
            server.signal()
            assert server.wait() == 0
        done = clients.get(timeout=PATIENCE)
        complete = sum(fin for fin, _ in done)
        found = server.wait_for(open=0) if server.popen.poll() is None else server.reports()[-1]
        assert complete == 20
        assert sum(received for _, received in done) == found["bytes_sent"] - 4
        assert found["bytes_lost"] == 0
        figure(f"3: clients that got all they were owed and a FIN, {next(iter(limit))}", f"{complete} of 20")


# 4, 7, 9, 11 ----------------------------------------------------------------------------------------------------------


def test_04_two_hundred_who_never_read_are_ended_in_time_and_cost_little() -> None:
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
        assert found["ended_write_stall"] + found["ended_reset"] == count
        assert found["ended_write_stall"] == count
        figure("4: memory of a client that never reads, KiB", round(each / KIB, 1))
        figure("4: the last of 200 was ended after its write stall by, s", round(late, 2))
        assert each <= 80 * KIB
        assert late <= 0.5 + 5 * UNIT
    assert sight.gap < 1000


def test_07_a_hundred_slow_readers_with_progress_are_never_ended() -> None:
    """4 KiB every 20 ms each, twice as long as the limit; plain sendall() ends them at its timeout."""
    # Two such reads at least between what its kernel tells ours, and room for a machine that does other things too.
    stall = 30 * UNIT
    payload = b"x" * (16 * MIB)
    with counted(write_stall=stall) as server:

        def reads_slowly() -> bool:
            """Whether it was ended."""
            with server.connect() as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
                sending = gevent.spawn(send_quietly, client, payload)
                try:
                    end = time.monotonic() + 2 * stall
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
        figure("7: slow readers ended before their time", f"{premature} of 100")
        assert premature == server.wait_for(open=0)["ended_write_stall"] == 0


def send_quietly(client: cooperative.socket, payload: bytes) -> None:
    with contextlib.suppress(OSError):
        client.sendall(payload)


def test_09_and_11_a_frozen_client_with_a_closed_window_is_ended_by_the_write_stall() -> None:
    """Its kernel goes on acknowledging the probes of its closed window: keep-alive cannot tell."""
    stall = 15 * UNIT
    with counted(write_stall=stall) as server, witness(server) as sight:
        arguments = [sys.executable, "-c", FREEZES, server.address.host, str(server.address.port)]
        with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as client:
            try:
                assert client.stdout is not None
                assert client.stdout.readline() == "ready\n"
                began = time.monotonic()
                client.send_signal(signal.SIGSTOP)
                took = wait_open(server, 1, stall + PATIENCE)
                assert server.counters()["ended_write_stall"] == 1
                figure(f"9, 11: freed after the freeze, of a write stall of {stall:g} s", f"{took:.2f} s")
                assert time.monotonic() - began <= stall + 0.5 + 5 * UNIT
            finally:
                client.kill()
    assert sight.gap < 1000


# 5 --------------------------------------------------------------------------------------------------------------------


def test_05_send_all_then_read() -> None:
    """Our client echoes 256 MiB in one call; one that sends all before it reads fails within its own timeout."""
    with counted() as server:
        base = server.memory
        with witness(server) as sight, geventecho.connect(server.target) as client:
            payload = bytes(range(256)) * MIB
            began = time.monotonic()
            client.echo(payload, timeout=6 * PATIENCE)
            took = time.monotonic() - began
        figure("5: 256 MiB in one echo() call, s", round(took, 2))
        with server.connect() as naive:
            naive.settimeout(10 * UNIT)
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                naive.sendall(payload)
            figure("5: a naive client gives up after, of its timeout of 1 s", round(time.monotonic() - began, 2))
            assert time.monotonic() - began < PATIENCE
            grown = server.memory - base
        figure("5: server memory grew by, KiB", grown // KIB)
        assert grown <= 8 * MIB
    assert sight.pings > 10


# 6, 8 -----------------------------------------------------------------------------------------------------------------


def trickle(clients: int, every: float, seconds: float) -> None:
    with counted(idle_timeout=3 * every) as server:
        with witness(server) as alone:
            gevent.sleep(seconds / 2)
        base = server.memory
        with witness(server) as beside:
            held = [server.connect() for _ in range(clients)]
            end, turn = time.monotonic() + seconds, 0
            while time.monotonic() < end:
                # Evenly over the time: each sends one byte in a round.
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
        figure(f"6: witness p99 alone / beside {clients} tricklers, ms", f"{alone.p99} / {beside.p99}")
        figure("6: memory of a trickling client, KiB", round(each / KIB, 1))
        assert each <= 20 * KIB
        assert beside.p99 <= max(1.2 * alone.p99, alone.p99 + 50)


def test_06_a_thousand_tricklers_in_a_hurry() -> None:
    trickle(1000, 7 * UNIT, 20 * UNIT)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_06_a_thousand_tricklers_with_a_byte_in_five_seconds() -> None:
    trickle(1000, 5, 60)


def test_08_two_thousand_silent_connects() -> None:
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
        figure(f"8: 2,000 silent clients all gone after, of a limit of {limit:g} s", round(took, 2))
        assert took <= limit + 1 + 5 * UNIT
    assert sight.gap < 1000


# 12, 13 ---------------------------------------------------------------------------------------------------------------


def test_12_connect_and_reset_before_accept() -> None:
    def once() -> float:
        with counted() as server:
            server.signal(signal.SIGSTOP)
            for _ in range(500):
                reset(server.plain_connect())
            good = server.plain_connect()
            server.signal(signal.SIGCONT)
            began = time.monotonic()
            with good:
                good.sendall(b"ping")
                assert good.recv(4) == b"ping"
            took = 1000 * (time.monotonic() - began)
            found = server.wait_for(open=0)
            assert found["accept_errors"] == 0
            assert found["ended_reset"] + found["ended_peer"] == found["accepted"]
            assert server.errors == ""
        return took

    best_of(4, once, 100, "12: the next client is answered behind 500 resets, ms")


def test_13_twenty_thousand_short_connections_leave_no_drift() -> None:
    """The client closes first, from several addresses: TIME_WAIT and the ports are its own."""

    def storm(server: Counted, source: str, times: int) -> None:
        for _ in range(times):
            with server.plain_connect(source_address=(source, 0)) as client:
                client.sendall(b"ping")
                assert client.recv(4) == b"ping"

    with counted() as server:
        in_threads(storm, [(server, f"127.0.0.{number}", 500) for number in range(2, 6)])
        server.wait_for(open=0)
        base = server.memory
        with witness(server) as sight:
            began = time.monotonic()
            in_threads(storm, [(server, f"127.0.0.{number}", 4500) for number in range(2, 6)])
            took = time.monotonic() - began
        found = server.wait_for(open=0)
        assert found["ended_peer"] == found["accepted"] == 20_002
        figure("13: short connections a second", round(18_000 / took))
        figure("13: witness p99, ms", sight.p99)
        figure("13: memory after 2,000 and after 20,000 connections, KiB more", (server.memory - base) // KIB)
        assert server.memory - base <= MIB


# 14, 15, 16 -----------------------------------------------------------------------------------------------------------


def test_14_a_hundred_thousand_segments_of_one_byte() -> None:
    payload = random.Random(14).randbytes(100_000)

    def send(client: socket.socket) -> None:
        for value in payload:
            client.send(bytes((value,)))

    def receive(client: socket.socket) -> bytes:
        received = bytearray()
        while len(received) < len(payload):
            received += client.recv(65536)
        return bytes(received)

    with counted() as server, witness(server) as sight:
        with server.plain_connect() as client:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            before, began = server.cpu_seconds, time.monotonic()
            sending = gevent.get_hub().threadpool.spawn(send, client)
            assert gevent.get_hub().threadpool.spawn(receive, client).get() == payload
            sending.get()
            took, cpu = time.monotonic() - began, server.cpu_seconds - before
        figure("14: one-byte segments a second / server CPU s per 100,000", f"{100_000 / took:.0f} / {cpu:.2f}")
        assert cpu <= 30
    assert sight.gap < 1000


def test_15_a_gigabyte_on_one_connection_in_flat_memory() -> None:
    with counted() as server:
        half_close(server, 4 * MIB)
        base = most = server.memory
        with witness(server) as sight:
            streaming = gevent.spawn(half_close, server, 1 << 30)
            while not streaming.ready():
                most = max(most, server.memory)
                gevent.sleep(0.05)
            streaming.get()
        figure("15: memory at the most, 1 GiB on one connection, MiB more", round((most - base) / MIB, 2))
        assert most - base <= 8 * MIB
    assert sight.gap < 1000


def test_16_ten_thousand_random_sizes_without_a_difference() -> None:
    generator = random.Random(16)
    block = generator.randbytes(400_002)
    with counted() as server, geventecho.connect(server.target) as client:
        for _ in range(10_000):
            start = generator.randint(0, 200_000)
            client.echo(block[start : start + generator.randint(1, 200_001)])
        figure("16: differences in 10,000 random sizes", 0)
        client.close()


def test_pings_go_on_beside_all_of_it_at_once() -> None:
    """One of each: never reads, trickles, resets, is silent, half-closes, and comes and goes."""
    with counted(write_stall=10 * UNIT, first_byte_timeout=10 * UNIT) as server, witness(server) as sight:
        never, silent = server.connect(), server.connect()
        send_until_full(never)
        for _ in range(20):
            with server.connect() as client:
                ping(client)
            reset(server.plain_connect())
        half_close(server, MIB)
        assert read_to_end(silent) == b""
        with pytest.raises(OSError, match="reset"):
            read_to_end_blocking(never)
        silent.close()
        never.close()
        wait_until(lambda: server.counters()["open"] == 1)
    assert sight.pings > 50


def read_to_end_blocking(client: cooperative.socket) -> bytes:
    client.settimeout(PATIENCE)
    return read_to_end(client)
