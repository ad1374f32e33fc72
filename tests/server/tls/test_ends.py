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
from tests.support.servers import (
    LOCAL,
    assert_adds_up,
    dial,
    fill_output,
    ping,
    read_exactly,
    read_to_end,
    running,
    wait_for_ending,
)
from tests.support.timing import UNIT, wait_until
from tests.support.tls import (
    client_context,
    dial_tls,
    handshake_in_memory,
    secured,
    send_raw_fin,
    server_context,
    tls_server,
)

pytestmark = pytest.mark.usefixtures("no_leaks")


def test_a_close_notify_is_answered_after_every_owed_byte(server: TcpServer, echoes: bool) -> None:
    with dial_tls(server) as client:
        client.sendall(b"x" * 300_000)
        read_exactly(client, 300_000)  # unwrap() fails if data comes after its close_notify
        client.unwrap()
    wait_for_ending(server, "peer" if echoes else "handler")


def test_a_fin_without_close_notify_loses_no_byte_and_is_counted(server: TcpServer) -> None:
    with dial_tls(server) as client:
        client.sendall(b"x" * 300_000)
        send_raw_fin(client)
        assert read_to_end(client) == b"x" * 300_000
    wait_for_ending(server, "truncated")


def test_a_fin_in_the_middle_of_a_record_loses_no_whole_record(server: TcpServer) -> None:
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


def test_a_reset_of_a_tls_client_is_counted_as_a_reset(server: TcpServer) -> None:
    client = dial_tls(server)
    ping(client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    wait_for_ending(server, "reset")


def test_junk_after_the_handshake_ends_the_connection_without_a_log_line(
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


def test_the_bytes_of_a_record_that_is_not_complete_are_no_progress(echoes: bool) -> None:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    layer = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with running(tls_server(echoes=echoes, idle_timeout=3 * UNIT)) as server, dial(server) as raw:
        handshake_in_memory(layer, incoming, outgoing, raw)
        layer.write(b"record")
        for byte in outgoing.read()[:8]:
            raw.sendall(bytes([byte]))
            gevent.sleep(UNIT / 2)
        with gevent.Timeout(2 * UNIT):  # with progress at the last byte, the end would come 2.5 units after the loop
            read_to_end(raw)
        raw.close()
        wait_for_ending(server, "idle")


def test_max_bytes_returns_exactly_that_many_bytes_while_more_come() -> None:
    with running(tls_server(max_bytes=20_000)) as server, dial_tls(server) as client:
        client.sendall(b"x" * 60_000)
        assert read_to_end(client) == b"x" * 20_000
    wait_for_ending(server, "bytes")


def test_write_stall_ends_a_tls_peer_that_takes_nothing() -> None:
    with running(tls_server(write_stall=3 * UNIT)) as server, dial_tls(server) as client:
        fill_output(server, client)
        wait_for_ending(server, "write_stall")
        # The kernel had room for some records after the last one that the client took.
        assert server.counters["bytes_lost"] > server.counters["bytes_destroyed"] > 0


def test_no_more_bytes_are_lost_than_were_owed() -> None:
    """A record of one byte is 23 bytes on the wire. Counted as lost, they would make bytes_sent negative."""
    with running(tls_server(write_stall=3 * UNIT)) as server, dial_tls(server) as client:
        ping(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # small buffers fill soon
        for connection in server._registry.open:
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

        def send() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client.sendall(b"x")
                    gevent.sleep(0)  # else all buffers are full before the server reads

        sending = gevent.spawn(send)
        wait_for_ending(server, "write_stall")
        sending.kill()
        assert server.counters["bytes_lost"] > 0
        assert server.counters["bytes_sent"] >= 0


def test_write_stall_ends_a_handler_whose_peer_takes_nothing() -> None:
    def flood(sock: Any, _peer: object) -> None:
        while True:
            sock.sendall(b"x" * 65536)

    server = TcpServer(LOCAL, flood, ssl_context=server_context(), write_stall=3 * UNIT)
    with running(server), dial_tls(server):
        wait_until(lambda: server.counters["ended_write_stall"] == 1)
        assert_adds_up(server.counters, echoes=False)


def test_a_slow_reader_gets_every_byte(echoes: bool) -> None:
    size = 1 << 20
    with running(tls_server(echoes=echoes, write_stall=5 * UNIT)) as server, dial_tls(server) as client:
        sending = gevent.spawn(client.sendall, b"x" * size)
        left = size
        while left:
            chunk = client.recv(min(left, 65536))
            assert chunk, f"close_notify {left} bytes early"
            left -= len(chunk)
            gevent.sleep(UNIT / 20)
        sending.get()


@pytest.mark.parametrize("longest", [100 * UNIT, 0])
def test_a_slow_reader_gets_the_close_notify_within_a_limit(monkeypatch: pytest.MonkeyPatch, longest: float) -> None:
    """The kernel's queue is full at the end, and the peer takes long to read the third of it that makes it writable."""
    monkeypatch.setattr("geventecho.server.tls.LINGER_SECONDS", 4 * UNIT)
    monkeypatch.setattr("geventecho.server.tls.LINGER_MAX", longest)

    def fill(sock: Any, _peer: object) -> None:
        sock.recv(4)
        sock.settimeout(0)
        while sock.send(b"x" * 16384):
            pass

    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
    with running(TcpServer(LOCAL, fill, ssl_context=server_context())) as server:
        assert server.address is not None
        raw.connect(server.address.sockaddr)
        with secured(raw) as client:
            client.sendall(b"fill")
            for _ in range(12):
                read_exactly(client, 4096)
                gevent.sleep(UNIT)
            with contextlib.nullcontext() if longest else pytest.raises(ssl.SSLEOFError):
                read_to_end(client)


def test_a_drain_delivers_every_owed_byte(echoes: bool) -> None:
    size = 4 << 20
    server = tls_server(echoes=echoes, drain_idle=3 * UNIT)
    server.start()
    with dial_tls(server) as client, dial_tls(server) as idle:
        ping(idle)
        sending = gevent.spawn(client.sendall, b"x" * size)
        assert client.recv(1)
        stopping = gevent.spawn(server.stop)
        read_exactly(client, size - 1)
        sending.get()
        assert read_to_end(client) == read_to_end(idle) == b""
    report = stopping.get()
    assert (report.drained, report.cut, report.bytes_lost) == (2, 0, 0)
    assert_adds_up(server.counters)


def test_a_cut_at_the_drain_timeout_sends_every_owed_byte_and_a_close_notify() -> None:
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
        reading.get()  # no SSLEOFError: there was a close_notify
        flooding.kill()
    assert (report.cut, report.bytes_lost) == (1, 0)
