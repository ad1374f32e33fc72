"""The end of a connection: the owed bytes, FIN, then a while of reading on."""

from __future__ import annotations

import contextlib
import itertools
import time
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent import socket

from geventecho.server.closing import LINGER_BYTES, LINGER_SECONDS
from geventecho.server.tcp_server import EchoServer, TcpServer
from tests.support.servers import LOCAL, assert_adds_up, dial, echo_server, fill_output, ping, read_to_end, running
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("both_loops", "no_leaks")
KIB, MIB = 1 << 10, 1 << 20


def stream(count: int) -> bytes:
    """The first `count` bytes that keep_sending() sends."""
    return b"".join(b"%015d\n" % number for number in range(count // 16 + 1))[:count]


def keep_sending(client: socket.socket, pace: float = 0.001) -> gevent.Greenlet:
    """Start a greenlet that sends numbered lines until the connection breaks."""

    def run() -> None:
        for number in itertools.count(step=64):
            try:
                client.sendall(b"".join(b"%015d\n" % (number + line) for line in range(64)))
            except OSError:
                return
            gevent.sleep(pace)

    return gevent.spawn(run)


@pytest.mark.parametrize(
    "limit", [{"lifetime": 3 * UNIT}, {"max_bytes": 300 * KIB}, {"lifetime": 3 * UNIT, "max_rate": 200 * KIB}, {}]
)
@pytest.mark.parametrize("pause", [0.0, UNIT / 2], ids=["reads", "pauses"])
def test_clients_that_keep_sending_get_every_owed_byte_and_a_fin(limit: dict[str, Any], pause: float) -> None:
    """A limit ends them, or stop() at the drain timeout. With plain gevent, 0 of 6 clients get every byte."""
    server = EchoServer(LOCAL, drain_idle=PATIENCE, **limit)
    server.start()
    clients = [dial(server) for _ in range(6)]
    senders = [keep_sending(client) for client in clients]
    wait_until(lambda: server.counters["bytes_received"] > 6 * 64 * KIB)
    stopping = None if limit else gevent.spawn(server.stop, 0)
    gevent.sleep(pause)
    received = [reader.get(timeout=PATIENCE) for reader in [gevent.spawn(read_to_end, client) for client in clients]]
    for sender in senders:
        sender.kill()
    for client in clients:
        client.close()
    wait_until(lambda: not server.connection_count)
    for got in received:
        assert len(got) >= 32 * KIB
        assert got == stream(len(got))
    counters = server.counters
    assert counters["bytes_sent"] == sum(map(len, received))
    assert counters["bytes_lost"] == 0
    assert_adds_up(counters)
    report = stopping.get(timeout=PATIENCE) if stopping else server.stop()
    assert report.bytes_lost == 0


def test_the_server_waits_a_second_for_the_fin_of_a_peer() -> None:
    with echo_server(lifetime=UNIT) as server, dial(server) as client:
        ping(client)
        assert read_to_end(client) == b""
        began = time.monotonic()
        wait_until(lambda: not server.connection_count)
        assert LINGER_SECONDS - 0.1 <= time.monotonic() - began <= LINGER_SECONDS + 10 * UNIT


def test_the_server_does_not_wait_for_a_peer_that_has_ended() -> None:
    with echo_server(lifetime=UNIT) as server:
        with dial(server) as client:
            ping(client)
            assert read_to_end(client) == b""
            began = time.monotonic()
        wait_until(lambda: not server.connection_count)
        assert time.monotonic() - began < LINGER_SECONDS / 2


def test_the_bytes_discarded_after_the_fin_are_bounded() -> None:
    with echo_server(max_bytes=1) as server, dial(server) as client:
        client.sendall(b"x")
        flooding = gevent.spawn(client.sendall, b"x" * (64 * MIB))
        flooding.link_exception(lambda _: None)
        wait_until(lambda: server.counters["ended_bytes"] == 1)
        counters = server.counters
        assert LINGER_BYTES <= counters["bytes_discarded"] <= LINGER_BYTES + 64 * KIB
        assert_adds_up(counters)
        flooding.kill()


def test_bytes_after_the_fin_are_discarded_not_lost() -> None:
    with echo_server(max_bytes=10) as server:
        with dial(server) as client:
            client.sendall(b"0123456789")
            assert read_to_end(client) == b"0123456789"
            client.sendall(b"too late")
        wait_until(lambda: not server.connection_count)
        counters = server.counters
        assert (counters["bytes_received"], counters["bytes_sent"]) == (18, 10)
        assert (counters["bytes_discarded"], counters["bytes_lost"]) == (8, 0)


def test_a_peer_that_takes_nothing_is_cut_after_a_second_and_its_bytes_are_lost() -> None:
    with echo_server(lifetime=10 * UNIT, write_stall=None) as server, dial(server) as client:
        fill_output(server, client)
        wait_until(lambda: server.connections[0].phase.value == "ending")
        began = time.monotonic()
        wait_until(lambda: not server.connection_count)
        assert LINGER_SECONDS / 2 <= time.monotonic() - began <= LINGER_SECONDS + 10 * UNIT
        assert server.counters["ended_lifetime"] == 1
        assert server.counters["bytes_lost"] > 0
        assert_adds_up(server.counters)


def test_a_peer_that_reads_slowly_gets_every_owed_byte() -> None:
    """The server owes more bytes than the kernel's buffers hold, and the peer pauses after each read."""
    with echo_server(lifetime=5 * UNIT, write_stall=None) as server, dial(server) as client:
        fill_output(server, client)
        wait_until(lambda: server.connections[0].phase.value == "ending")
        client.settimeout(PATIENCE)
        received = 0
        while chunk := client.recv(64 * KIB):
            received += len(chunk)
            gevent.sleep(UNIT / 20)
        wait_until(lambda: not server.connection_count)
        assert server.counters["bytes_lost"] == 0
        assert received == server.counters["bytes_sent"]
        assert_adds_up(server.counters)


@pytest.mark.parametrize("target", [LOCAL, "unix:{folder}/socket"])
def test_a_peer_that_reads_slowly_and_keeps_sending_gets_every_owed_byte_and_a_fin(target: str, tmp_path: Path) -> None:
    """The peer needs more than LINGER_SECONDS for the owed bytes."""
    with running(EchoServer(target.format(folder=tmp_path), lifetime=2 * UNIT)) as server, dial(server) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * KIB)
        sender = keep_sending(client, pace=0.0)
        received = bytearray()
        while chunk := client.recv(4 * KIB):
            received += chunk
            if server.counters["ended_lifetime"] == 0:
                gevent.sleep(LINGER_SECONDS / 20)
        sender.kill()
        assert received == stream(len(received))
        wait_until(lambda: not server.connection_count)
        counters = server.counters
        assert counters["bytes_sent"] == len(received)
        assert counters["bytes_lost"] == 0
        assert_adds_up(counters)


@pytest.mark.alone
def test_bytes_that_a_cut_destroys_in_the_kernel_are_counted_as_lost() -> None:
    """A peer that goes on sending is ended by RST when its time is over, and gets only the bytes that it has read."""
    with running(EchoServer(LOCAL, drain_idle=PATIENCE)) as server, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
        assert server.address is not None
        client.connect((server.address.host, server.address.port))
        client.sendall(stream(100 * KIB))
        wait_until(lambda: server.counters["bytes_received"] == 100 * KIB)

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client.send(b"x")
                    gevent.sleep(UNIT / 5)

        trickling = gevent.spawn(trickle)
        stopping = gevent.spawn(server.stop, UNIT)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(2 * KIB):
                received += chunk
                gevent.sleep(LINGER_SECONDS / 20)
        report = stopping.get(timeout=PATIENCE)
        trickling.kill()
        counters = server.counters
        assert report.bytes_lost == counters["bytes_lost"] > 0
        # The kernel sends the reset when the peer's next byte comes. The peer may read on until then.
        assert 0 <= len(received) - counters["bytes_sent"] <= 16 * KIB
        assert len(received) < 100 * KIB
        assert received == stream(len(received))
        assert_adds_up(counters)


@pytest.mark.parametrize("is_owed", [True, False], ids=["flush", "linger"])
def test_a_pause_of_the_process_takes_no_time_from_a_peer(is_owed: bool) -> None:
    """The pause is longer than the peer's time. The peer's bytes are still read; otherwise a close would send RST."""
    with echo_server(lifetime=2 * UNIT) as server, dial(server) as client:
        if is_owed:
            fill_output(server, client)
        else:
            ping(client)
        wait_until(lambda: server.connections[0].phase.value == "ending")
        if not is_owed:
            client.sendall(b"x" * 300 * KIB)
        client.settimeout(PATIENCE)
        time.sleep(LINGER_SECONDS + 2 * UNIT)  # not gevent.sleep: the hub does not run
        gevent.sleep(UNIT)
        received = len(read_to_end(client))
        client.close()
        wait_until(lambda: not server.connection_count)
        counters = server.counters
        assert counters["bytes_lost"] == 0
        assert received == counters["bytes_sent"] - (0 if is_owed else 4)
        assert counters["bytes_discarded"] >= (0 if is_owed else 300 * KIB)
        assert_adds_up(counters)


def test_a_reset_ends_a_lingering_connection() -> None:
    with echo_server(lifetime=UNIT) as server:
        with dial(server) as client:
            ping(client)
            assert read_to_end(client) == b""
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        wait_until(lambda: not server.connection_count, LINGER_SECONDS / 2)
        assert server.counters["ended_lifetime"] == 1


def test_the_stream_of_a_handler_ends_in_order() -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        sock.sendall(b"goodbye" * 20_000)

    with running(TcpServer(LOCAL, handler)) as server:
        for _ in range(6):
            with dial(server) as client:
                sender = keep_sending(client)
                gevent.sleep(UNIT / 2)
                assert read_to_end(client) == b"goodbye" * 20_000
                sender.kill()
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_handler"] == 6


def test_a_unix_client_that_keeps_sending_gets_max_bytes_and_a_fin(tmp_path: Any) -> None:
    with running(EchoServer(f"unix:{tmp_path / 'socket'}", max_bytes=200 * KIB)) as server:
        with dial(server) as client:
            sender = keep_sending(client)
            assert len(read_to_end(client)) == 200 * KIB
            sender.kill()
        wait_until(lambda: not server.connection_count)
        assert server.counters["bytes_lost"] == 0
        assert_adds_up(server.counters)
