"""stop(): the connections that it waits for, those that it ends, and the report."""

from __future__ import annotations

import contextlib
import socket as plain
import time

import gevent
import pytest
from gevent import socket

from geventecho.server.drain import StopReport
from geventecho.server.tcp_server import EchoServer, ServerState
from tests.support.servers import (
    LOCAL,
    assert_adds_up,
    dial,
    fill_output,
    is_refused,
    ping,
    read_exactly,
    read_to_end,
    transfer,
)
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")
MIB = 1 << 20


def started(**options: float) -> EchoServer:
    server = EchoServer(LOCAL, **options)
    server.start()
    return server


def finishing(server: EchoServer, timeout: float | None = None) -> gevent.Greenlet:
    """Start stop() in a greenlet, and wait until it has begun."""
    stopping = gevent.spawn(server.stop, timeout)
    wait_until(lambda: server.state is not ServerState.LISTENING)
    return stopping


def test_an_idle_connection_gets_a_fin_at_once() -> None:
    server = started(drain_idle=2 * UNIT)
    with dial(server) as client:
        ping(client)
        gevent.sleep(3 * UNIT)  # longer than drain_idle: the client is idle
        began = time.monotonic()
        stopping = finishing(server)
        assert read_to_end(client) == b""
        assert time.monotonic() - began < 5 * UNIT
        client.close()
        assert stopping.get(timeout=PATIENCE) == StopReport(drained=1)
    assert server.counters["ended_drained"] == 1
    assert_adds_up(server.counters)


def test_a_connection_that_was_just_active_is_ended_after_its_idle_time() -> None:
    server = started(drain_idle=5 * UNIT)
    with dial(server) as client:
        ping(client)
        began = time.monotonic()
        stopping = finishing(server)
        assert read_to_end(client) == b""
        # The stamp of the byte may be a tick old.
        assert 5 * UNIT - 0.1 <= time.monotonic() - began <= 5 * UNIT + 0.5
        client.close()
        stopping.get(timeout=PATIENCE)


def test_an_active_connection_goes_on_until_it_is_done() -> None:
    server = started(drain_idle=3 * UNIT)
    with dial(server) as client:
        ping(client)
        stopping = finishing(server)
        for _ in range(10):
            ping(client, b"still here")
            gevent.sleep(UNIT)
        assert not stopping.ready()
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == b""
        assert stopping.get(timeout=PATIENCE) == StopReport(drained=1)
    assert server.counters["ended_peer"] == 1


def test_at_the_timeout_an_open_connection_is_cut_and_gets_every_owed_byte() -> None:
    server = started(drain_idle=PATIENCE)
    with dial(server) as client:
        ping(client)
        began = time.monotonic()
        stopping = finishing(server, 5 * UNIT)

        def talk() -> None:
            while True:
                client.sendall(b"x" * 1000)
                gevent.sleep(UNIT / 20)

        talking = gevent.spawn(talk)
        talking.link_exception(lambda _: None)
        received = len(read_to_end(client))
        took = time.monotonic() - began
        talking.kill()
        client.close()
        report = stopping.get(timeout=PATIENCE)
        assert report == StopReport(cut=1, bytes_discarded=server.counters["bytes_discarded"])
        assert 5 * UNIT <= took <= 5 * UNIT + 0.5
    assert received == server.counters["bytes_sent"] - 4
    assert server.counters["ended_cut"] == 1
    assert_adds_up(server.counters)


def test_a_peer_that_does_not_read_loses_its_bytes_a_second_after_the_timeout() -> None:
    server = started(drain_idle=0)
    with dial(server) as client, dial(server) as neighbour:
        ping(neighbour)
        neighbour.close()
        fill_output(server, client)
        began = time.monotonic()
        report = server.stop(5 * UNIT)
        took = time.monotonic() - began
        client.settimeout(PATIENCE)
        received = 0
        with contextlib.suppress(ConnectionResetError):
            while chunk := client.recv(65536):
                received += len(chunk)
    assert 5 * UNIT + 1.0 <= took <= 5 * UNIT + 1.0 + 0.5 + 5 * UNIT
    assert (report.drained, report.cut) in ((0, 1), (1, 1))
    # Bytes in the kernel are lost too: a close with unread input destroys them.
    assert received == server.counters["bytes_sent"] - len(b"ping")
    assert report.bytes_lost == server.counters["bytes_lost"] > 0
    assert_adds_up(server.counters)


def test_a_reader_gets_every_owed_byte_in_the_second_after_the_timeout() -> None:
    server = started(drain_idle=PATIENCE)
    with dial(server) as client:
        fill_output(server, client)
        stopping = finishing(server, UNIT)
        wait_until(lambda: server.connections[0].phase.value == "ending")
        client.settimeout(PATIENCE)
        received = len(read_to_end(client))
        client.close()
        report = stopping.get(timeout=PATIENCE)
    assert report == StopReport(cut=1, bytes_discarded=server.counters["bytes_discarded"])
    assert received == server.counters["bytes_sent"]
    assert_adds_up(server.counters)


def test_the_discarded_bytes_of_a_transfer_with_max_rate_are_in_the_report() -> None:
    """The client has sent everything. The server has read a part, and reads the rest after its FIN."""
    size = 300_000
    server = started(max_rate=100_000)
    with dial(server) as client, dial(server) as earlier:
        ping(earlier)
        earlier.close()
        wait_until(lambda: server.connection_count == 1)
        client.sendall(b"x" * size)
        client.shutdown(socket.SHUT_WR)
        stopping = finishing(server, 3 * UNIT)
        received = len(read_to_end(client))
        report = stopping.get(timeout=PATIENCE)
    assert 0 < received < size / 2
    assert report == StopReport(drained=0, cut=1, bytes_lost=0, bytes_discarded=size - received)
    assert str(report) == f"drained 0, cut 1, bytes lost 0, bytes discarded {size - received}"
    assert_adds_up(server.counters)


def test_twenty_transfers_under_way_all_finish() -> None:
    server = started()
    size = 2 * MIB

    def once() -> int:
        with dial(server) as client:
            return transfer(client, size, 16384, UNIT / 100)

    transfers = [gevent.spawn(once) for _ in range(20)]
    wait_until(lambda: server.connection_count == 20 and server.counters["bytes_received"] > MIB)
    stopping = finishing(server)
    assert [running.get(timeout=PATIENCE) for running in transfers] == [size] * 20
    finished = time.monotonic()
    assert stopping.get(timeout=PATIENCE) == StopReport(drained=20)
    assert time.monotonic() - finished < 5 * UNIT


def test_connects_queued_before_a_stop_are_served_and_later_ones_are_refused() -> None:
    server = started(drain_idle=3 * UNIT)
    assert server.address is not None
    target = (server.address.host, server.address.port)
    queued = [plain.create_connection(target, PATIENCE) for _ in range(10)]
    for client in queued:
        client.sendall(b"early")
    stopping = gevent.spawn(server.stop)
    gevent.sleep(0)
    assert is_refused(server.address)
    assert [gevent.get_hub().threadpool.apply(client.recv, (5,)) for client in queued] == [b"early"] * 10
    for client in queued:
        client.close()
    assert stopping.get(timeout=PATIENCE) == StopReport(drained=10)


def test_queued_connections_beyond_the_limit_are_refused_not_served() -> None:
    server = started(max_connections=3)
    assert server.address is not None
    queued = [plain.create_connection((server.address.host, server.address.port), PATIENCE) for _ in range(10)]
    server.close()
    assert server.connection_count == 3
    assert server.counters["refused_full"] == 7
    for client in queued:
        client.close()
    assert server.join(PATIENCE)
    assert_adds_up(server.counters)


def test_the_report_counts_from_the_stop_not_from_the_start() -> None:
    server = started(lifetime=PATIENCE)
    for _ in range(5):
        with dial(server) as client:
            ping(client)
    wait_until(lambda: not server.connection_count)
    with dial(server) as client:
        ping(client)
        client.shutdown(socket.SHUT_WR)
        stopping = finishing(server)
        assert read_to_end(client) == b""
        assert stopping.get(timeout=PATIENCE) == StopReport(drained=1)


def test_an_empty_server_stops_at_once() -> None:
    server = started()
    began = time.monotonic()
    assert server.stop() == StopReport()
    assert time.monotonic() - began < 5 * UNIT


def test_the_bytes_owed_to_a_killed_peer_are_in_the_report() -> None:
    server = started(drain_idle=PATIENCE)
    with dial(server) as client:
        fill_output(server, client)
        stopping = finishing(server)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        report = stopping.get(timeout=PATIENCE)
    assert report.drained == 1
    assert report.bytes_lost > 0


def test_the_report_reads_as_one_line() -> None:
    assert str(StopReport(drained=3, cut=2, bytes_lost=1)) == "drained 3, cut 2, bytes lost 1"
    assert str(StopReport(cut=2, bytes_discarded=7)) == "drained 0, cut 2, bytes lost 0, bytes discarded 7"


def test_an_active_connection_goes_on_while_idle_ones_are_ended() -> None:
    server = started(drain_idle=3 * UNIT)
    idle = [dial(server) for _ in range(50)]
    for client in idle:
        ping(client)
    with dial(server) as busy:
        ping(busy)
        stopping = finishing(server)
        for number in range(20):
            busy.sendall(b"%04d" % number)
            assert read_exactly(busy, 4) == b"%04d" % number
            gevent.sleep(UNIT / 2)
        for client in idle:
            assert read_to_end(client) == b""
            client.close()
        busy.close()
        assert stopping.get(timeout=PATIENCE) == StopReport(drained=51)
