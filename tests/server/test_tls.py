"""TLS streams: bytes, ends and limits are those of a plain connection."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
import struct
from collections.abc import Iterator
from typing import Any

import gevent
import pytest
from gevent import socket, ssl

from geventecho.errors import ConfigError
from geventecho.server.config import ServerConfig
from geventecho.server.tcp_server import EchoServer, TcpServer
from tests.support.servers import LOCAL, assert_adds_up, dial, ping, read_to_end, resident, running, stuff
from tests.support.timing import UNIT, wait_until
from tests.support.tls import (
    CERTIFICATE,
    TLS12,
    TLS13,
    client_context,
    dial_tls,
    echo_handler,
    secured,
    send_raw_fin,
    server_context,
    tls_server,
)

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture(params=[True, False], ids=["echo", "handler"])
def echoes(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def server(echoes: bool) -> Iterator[TcpServer]:
    with running(tls_server(echoes=echoes)) as server:
        yield server


def stream_through(client: Any, size: int) -> tuple[bytes, bytes]:
    """Send so many bytes and read them meanwhile; the SHA-256 of those sent and of those that came back."""
    sent, came, left = hashlib.sha256(), hashlib.sha256(), size

    def send() -> None:
        block = os.urandom(1 << 20)
        for start in range(0, size, len(block)):
            piece = block[: size - start]
            sent.update(piece)
            client.sendall(piece)

    sending = gevent.spawn(send)
    while left:
        data = client.recv(65536)
        assert data, f"the stream ended {left} bytes early"
        came.update(data)
        left -= len(data)
    sending.get()
    return sent.digest(), came.digest()


def ended(server: TcpServer, name: str, count: int = 1) -> None:
    wait_until(lambda: server.counters[f"ended_{name}"] == count, what=f"ended_{name}: {server.counters}")
    assert_adds_up(server.counters)


# Bytes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_every_byte_comes_back(server: TcpServer, version: Any) -> None:
    assert str(server.address).startswith("tls://127.0.0.1:")
    with dial_tls(server, client_context(version)) as client:
        for size in (1, 2, 16383, 16384, 16385, 200_001):
            ping(client, os.urandom(size))
        sent, came = stream_through(client, 16 << 20)
        assert sent == came
    wait_until(lambda: not server.connection_count)
    counters = server.counters
    assert counters["bytes_received"] == counters["bytes_sent"] == (16 << 20) + 200_001 + 3 * 16384 + 3
    assert_adds_up(counters)


@pytest.mark.long
def test_a_quarter_of_a_gib_at_once_in_both_directions_takes_no_memory(server: TcpServer) -> None:
    with dial_tls(server) as client:
        assert len(set(stream_through(client, 16 << 20))) == 1
        before = resident(os.getpid())
        assert len(set(stream_through(client, 256 << 20))) == 1
        assert resident(os.getpid()) - before < 8 << 20


def test_a_record_that_is_read_in_parts_is_returned_whole() -> None:
    """Bytes that OpenSSL has decrypted and not handed over make no descriptor readable."""
    with running(tls_server(max_rate=100_000)) as server, dial_tls(server) as client:
        ping(client, os.urandom(30_000))


def test_a_handler_gets_an_ssl_socket() -> None:
    seen: list[Any] = []

    def handler(sock: Any, _peer: object) -> None:
        buffer = bytearray(3)
        seen.extend((isinstance(sock, ssl.SSLSocket), sock.version(), sock.recv_into(buffer), bytes(buffer)))
        sock.settimeout(0)
        with pytest.raises(ssl.SSLWantReadError):
            sock.recv(1)
        sock.settimeout(UNIT)
        with pytest.raises(TimeoutError):
            sock.recv(1)
        sock.write(b"one")
        sock.close()

    with running(TcpServer(LOCAL, handler, ssl_context=server_context())) as server, dial_tls(server) as client:
        client.sendall(b"abc")
        assert read_to_end(client) == b"one"
        ended(server, "handler")
    assert seen == [True, "TLSv1.3", 3, b"abc"]


def test_a_handler_may_read_on_at_the_end() -> None:
    """After the close_notify there comes a FIN, which is not one without."""
    seen: list[bytes] = []

    def handler(sock: Any, _peer: object) -> None:
        with sock.makefile("rb") as lines:
            seen.extend((lines.readline(), lines.readline(), lines.read()))
        gevent.sleep(UNIT)
        seen.append(sock.recv(1))

    with running(TcpServer(LOCAL, handler, ssl_context=server_context())) as server:
        with dial_tls(server) as client:
            client.sendall(b"one\ntwo")
            with contextlib.suppress(ssl.SSLWantReadError):
                client._sslobj.shutdown()
            client.setblocking(False)
            send_raw_fin(client)
        wait_until(lambda: server.counters["ended_handler"] == 1, what=f"{server.counters}")
    assert seen == [b"one\n", b"two", b"", b""]


def test_a_context_of_the_standard_library_does() -> None:
    import ssl as stdlib_ssl

    context = stdlib_ssl.SSLContext(stdlib_ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(context)
    with running(EchoServer(LOCAL, ssl_context=context)) as server, dial_tls(server) as one, dial_tls(server) as two:
        ping(one)
        ping(two)


# Ends -----------------------------------------------------------------------------------------------------------------


def test_a_close_notify_is_answered_after_all_that_is_owed(server: TcpServer, echoes: bool) -> None:
    with dial_tls(server) as client:
        client.sendall(b"x" * 300_000)
        assert client.recv(1)
        # unwrap() fails where data comes after its close_notify, so all is read first.
        left = 299_999
        while left:
            left -= len(client.recv(left))
        client.unwrap()
    ended(server, "peer" if echoes else "handler")


def test_a_fin_without_close_notify_costs_no_byte_and_is_counted(server: TcpServer) -> None:
    with dial_tls(server) as client:
        client.sendall(b"x" * 300_000)
        send_raw_fin(client)
        assert read_to_end(client) == b"x" * 300_000
    ended(server, "truncated")


def test_a_fin_in_the_middle_of_a_record_costs_no_whole_one(server: TcpServer) -> None:
    raw = dial(server)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    while True:
        try:
            tls.do_handshake()
            break
        except ssl.SSLWantReadError:
            raw.sendall(outgoing.read())
            incoming.write(raw.recv(65536))
    tls.write(b"whole")
    raw.sendall(outgoing.read())
    tls.write(b"torn")
    raw.sendall(outgoing.read()[:-1])
    raw.shutdown(socket.SHUT_WR)
    incoming.write(read_to_end(raw))
    raw.close()
    assert tls.read(100) == b"whole"
    with pytest.raises(ssl.SSLError, match="DECODE_ERROR"):  # the server's alert
        tls.read(100)
    ended(server, "truncated")


def test_a_reset_is_a_reset(server: TcpServer) -> None:
    client = dial_tls(server)
    ping(client)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    ended(server, "reset")


def test_junk_after_the_handshake_ends_the_connection_without_a_word(
    server: TcpServer, caplog: pytest.LogCaptureFixture
) -> None:
    client = dial_tls(server)
    ping(client)
    raw = socket.socket(fileno=os.dup(client.fileno()))
    raw.sendall(b"junk" * 100)
    ended(server, "reset")
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
        ended(server, ending)


def test_who_speaks_is_not_idle(echoes: bool) -> None:
    with running(tls_server(echoes=echoes, idle_timeout=3 * UNIT)) as server, dial_tls(server) as client:
        for _ in range(6):
            ping(client)
            gevent.sleep(UNIT)


def test_the_byte_limit_returns_exactly_that_much_while_more_comes() -> None:
    with running(tls_server(max_bytes=20_000)) as server, dial_tls(server) as client:
        client.sendall(b"x" * 60_000)
        assert read_to_end(client) == b"x" * 20_000
    ended(server, "bytes")


def test_a_peer_that_takes_nothing_is_ended() -> None:
    with running(tls_server(write_stall=3 * UNIT)) as server, dial_tls(server) as client:
        stuff(server, client)
        ended(server, "write_stall")
        assert server.counters["bytes_lost"] > 0


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


# Settings -------------------------------------------------------------------------------------------------------------


def test_a_new_context_is_for_new_connections() -> None:
    with running(tls_server()) as server, dial_tls(server, client_context(TLS12)) as old:
        context = server_context()
        context.minimum_version = TLS13
        server.ssl_context = context
        assert server.ssl_context is context
        ping(old)
        with pytest.raises(ssl.SSLError):
            dial_tls(server, client_context(TLS12))
        with dial_tls(server) as new:
            ping(new)
        ping(old)


def test_contexts_and_targets_that_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="must be an SSLContext"):
        EchoServer(LOCAL, ssl_context="chain.pem")
    with pytest.raises(ConfigError, match="one for clients"):
        EchoServer(LOCAL, ssl_context=client_context())
    with pytest.raises(ConfigError, match=r"tls://127\.0\.0\.1:0 needs an ssl_context"):
        EchoServer("tls://127.0.0.1:0")
    with pytest.raises(ConfigError, match="alpn needs an ssl_context"):
        EchoServer(LOCAL, alpn=("echo/1",))
    with pytest.raises(ConfigError, match="made without TLS"):
        EchoServer(LOCAL).ssl_context = server_context()
    assert EchoServer(LOCAL).ssl_context is None
    for alpn in ("echo", (), ("",), ("x" * 256,), ("é",), 5):
        with pytest.raises(ConfigError, match="alpn"):
            ServerConfig(alpn=alpn)  # type: ignore[arg-type]


def test_a_tls_target_and_a_second_life() -> None:
    server = EchoServer("tls://127.0.0.1:0", ssl_context=server_context())
    for _ in range(2):
        with running(server), dial_tls(server) as client:
            ping(client)


def test_a_proxy_names_its_client_before_the_handshake(echoes: bool) -> None:
    options = {"proxy_protocol_from": ("127.0.0.0/8",), "first_byte_timeout": 20 * UNIT}
    with running(tls_server(echoes=echoes, **options)) as server, dial(server) as raw:
        raw.sendall(b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 2000\r\n")
        with secured(raw) as client:
            ping(client)
            (connection,) = server.connections
            assert (str(connection.peer), connection.bytes_received) == ("tcp://192.0.2.1:1000", 4)


def test_tls_over_a_unix_socket(tmp_path: Any) -> None:
    server = TcpServer(f"unix:{tmp_path}/s", echo_handler, ssl_context=server_context())
    with running(server):
        with dial_tls(server) as client:
            assert str(server.address).startswith("unix:/")
            ping(client)
            client.unwrap()
        ended(server, "handler")


def test_an_ended_connection_is_freed_without_the_cycle_collector(server: TcpServer) -> None:
    from geventecho.server.tls import TlsConnection, TlsSocket

    def parts() -> int:
        return sum(isinstance(found, TlsConnection | TlsSocket) for found in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = parts()
        with dial_tls(server) as client:
            ping(client)
            assert parts() == before + 2
            client.unwrap()
        with dial(server) as junk:
            junk.sendall(b"GET / HTTP/1.1\r\n\r\n")
            read_to_end(junk)
        wait_until(lambda: not server.connection_count)
        wait_until(lambda: parts() == before, 10 * UNIT, what="the parts of the ended connections are freed")
    finally:
        gc.enable()
