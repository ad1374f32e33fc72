"""Ends, limits and drains of TLS streams are those of a plain connection."""

from __future__ import annotations

import contextlib
import os
import struct
from typing import Any

import gevent
import pytest
from gevent import socket, ssl

from geventecho.server.tcp_server import TcpServer
from tests.support.servers import LOCAL, assert_adds_up, dial, ping, read_to_end, running, stuff, wait_for_ending
from tests.support.timing import UNIT, wait_until
from tests.support.tls import (
    client_context,
    dial_tls,
    handshake_in_memory,
    send_raw_fin,
    server_context,
    tls_server,
)

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_close_notify_is_answered_after_all_that_is_owed(server: TcpServer, echoes: bool) -> None:
    with dial_tls(server) as client:
        client.sendall(b"x" * 300_000)
        assert client.recv(1)
        # unwrap() fails where data comes after its close_notify, so all is read first.
        left = 299_999
        while left:
            left -= len(client.recv(left))
        client.unwrap()
    wait_for_ending(server, "peer" if echoes else "handler")


def test_a_fin_without_close_notify_costs_no_byte_and_is_counted(server: TcpServer) -> None:
    with dial_tls(server) as client:
        client.sendall(b"x" * 300_000)
        send_raw_fin(client)
        assert read_to_end(client) == b"x" * 300_000
    wait_for_ending(server, "truncated")


def test_a_fin_in_the_middle_of_a_record_costs_no_whole_one(server: TcpServer) -> None:
    raw = dial(server)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    handshake_in_memory(tls, incoming, outgoing, raw)
    tls.write(b"whole")
    raw.sendall(outgoing.read())
    tls.write(b"torn")
    raw.sendall(outgoing.read()[:-1])
    raw.shutdown(socket.SHUT_WR)
    incoming.write(read_to_end(raw))
    raw.close()
    assert tls.read(100) == b"whole"
    assert tls.read(100) == b""  # the server's close_notify
    wait_for_ending(server, "truncated")


def test_a_reset_is_a_reset(server: TcpServer) -> None:
    client = dial_tls(server)
    ping(client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    wait_for_ending(server, "reset")


def test_junk_after_the_handshake_ends_the_connection_without_a_word(
    server: TcpServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = dial_tls(server)
    ping(client)
    raw = socket.socket(fileno=os.dup(client.fileno()))
    raw.sendall(b"junk" * 100)
    wait_for_ending(server, "reset")
    raw.close()
    client.close()
    assert [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []


@pytest.mark.parametrize(
    ("options", "ending"),
    [
        ({"idle_timeout": 2 * UNIT}, "idle"),
        ({"first_byte_timeout": 2 * UNIT}, "first_byte"),
        ({"lifetime": 3 * UNIT}, "lifetime"),
    ],
)
def test_a_limit_on_time_ends_the_stream_in_order(echoes: bool, options: dict[str, Any], ending: str) -> None:
    with running(tls_server(echoes=echoes, **options)) as server:
        with dial_tls(server) as client:
            if ending != "first_byte":
                ping(client)
            assert read_to_end(client) == b""  # no SSLEOFError: there was a close_notify
        wait_for_ending(server, ending)


def test_an_active_client_is_not_idle(echoes: bool) -> None:
    with running(tls_server(echoes=echoes, idle_timeout=3 * UNIT)) as server, dial_tls(server) as client:
        for _ in range(6):
            ping(client)
            gevent.sleep(UNIT)


def test_the_byte_limit_returns_exactly_that_much_while_more_comes() -> None:
    with running(tls_server(max_bytes=20_000)) as server, dial_tls(server) as client:
        client.sendall(b"x" * 60_000)
        assert read_to_end(client) == b"x" * 20_000
    wait_for_ending(server, "bytes")


def test_a_peer_that_takes_nothing_is_ended() -> None:
    with running(tls_server(write_stall=3 * UNIT)) as server, dial_tls(server) as client:
        stuff(server, client)
        wait_for_ending(server, "write_stall")
        # The kernel had room for some records after the last one that the client took.
        assert server.counters["bytes_lost"] > server.counters["bytes_destroyed"] > 0


def test_no_more_is_lost_than_was_owed() -> None:
    """A record of one byte is 23 bytes on the wire. Small buffers fill soon."""
    with running(tls_server(write_stall=3 * UNIT)) as server, dial_tls(server) as client:
        ping(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        for connection in server._registry.open:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

        def send() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client.sendall(b"x")
                    gevent.sleep(0)  # it would fill all buffers before the server reads

        sending = gevent.spawn(send)
        wait_for_ending(server, "write_stall")
        sending.kill()
        assert server.counters["bytes_sent"] >= 0


def test_a_handler_whose_peer_takes_nothing_is_ended() -> None:
    def flood(sock: Any, _peer: object) -> None:
        while True:
            sock.sendall(b"x" * 65536)

    server = TcpServer(LOCAL, flood, ssl_context=server_context(), write_stall=3 * UNIT)
    with running(server), dial_tls(server):
        wait_until(lambda: server.counters["ended_write_stall"] == 1)
        assert_adds_up(server.counters, echoes=False)


def test_a_slow_reader_gets_everything(echoes: bool) -> None:
    size = 1 << 20
    with running(tls_server(echoes=echoes, write_stall=5 * UNIT)) as server, dial_tls(server) as client:
        sending = gevent.spawn(client.sendall, b"x" * size)
        left = size
        while left:
            left -= len(client.recv(min(left, 65536)))
            gevent.sleep(UNIT / 20)
        sending.get()


def test_a_drain_delivers_what_is_owed(echoes: bool) -> None:
    size = 4 << 20
    server = tls_server(echoes=echoes, drain_idle=3 * UNIT)
    server.start()
    with dial_tls(server) as client, dial_tls(server) as idle:
        ping(idle)
        sending = gevent.spawn(client.sendall, b"x" * size)
        assert client.recv(1)
        stopping = gevent.spawn(server.stop)
        left = size - 1
        while left:
            left -= len(client.recv(left))
        sending.get()
        assert read_to_end(client) == read_to_end(idle) == b""
    report = stopping.get()
    assert (report.drained, report.cut, report.bytes_lost) == (2, 0, 0)
    assert_adds_up(server.counters)


def test_the_end_of_a_drain_flushes_and_says_so() -> None:
    server = tls_server()
    server.start()
    with dial_tls(server) as client:
        ping(client)

        def flood() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client.sendall(b"x" * 65536)

        flooding = gevent.spawn(flood)
        reading = gevent.spawn(read_to_end, client)
        report = server.stop(2 * UNIT)
        reading.get()
        flooding.kill()
    assert (report.cut, report.bytes_lost) == (1, 0)
