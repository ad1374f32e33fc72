"""TLS streams carry each byte, for every kind of server, context and target."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import os
from typing import Any

import gevent
import pytest
from gevent import socket, ssl
from gevent.event import Event
from gevent.exceptions import ConcurrentObjectUseError

from geventecho.errors import ConfigError
from geventecho.net import TLS_RECORD
from geventecho.server.config import ServerConfig
from geventecho.server.tcp_server import EchoServer, TcpServer
from tests.support.servers import LOCAL, assert_adds_up, dial, ping, read_to_end, resident, running, wait_for_ending
from tests.support.timing import PATIENCE, UNIT, wait_until
from tests.support.tls import (
    CERTIFICATE,
    TLS12,
    TLS13,
    client_context,
    dial_tls,
    echo_handler,
    handshake_in_memory,
    secured,
    send_raw_fin,
    server_context,
    tls_server,
)

pytestmark = pytest.mark.usefixtures("no_leaks")


def stream_through(client: Any, size: int) -> tuple[bytes, bytes]:
    """Send `size` bytes and read them meanwhile; returns the SHA-256 of the sent and of the returned bytes."""
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
def test_256_mib_in_both_directions_at_once_keep_memory_flat(server: TcpServer) -> None:
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
        wait_for_ending(server, "handler")
    assert seen == [True, "TLSv1.3", 3, b"abc"]


def test_a_handler_may_read_on_at_the_end() -> None:
    """The FIN comes after a close_notify, so it is an ordinary end."""
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
        wait_until(lambda: server.counters["ended_handler"] == 1, goal=f"{server.counters}")
    assert seen == [b"one\n", b"two", b"", b""]


def test_a_message_after_a_timeout_is_not_taken_for_the_rest_of_another() -> None:
    """A record that the kernel has not taken is encrypted already. It stays in the stream once, and whole."""
    ready = Event()
    sent: list[bytes] = []

    def handler(sock: Any, _peer: object) -> None:
        sock.settimeout(2 * UNIT)
        with contextlib.suppress(TimeoutError):
            while True:
                sent.append(bytes([len(sent) % 256]) * TLS_RECORD)
                sock.sendall(sent[-1])
        ready.set()
        sock.settimeout(PATIENCE)
        sock.sendall(b"last")

    with running(TcpServer(LOCAL, handler, ssl_context=server_context())) as server, dial_tls(server) as client:
        assert ready.wait(PATIENCE)
        data = read_to_end(client)
        assert server.counters["bytes_sent"] == len(data)
    assert data == b"".join(sent) + b"last"


def test_a_second_greenlet_cannot_send_within_a_message() -> None:
    """It gets gevent's error, and the message of the first greenlet arrives whole and once."""
    messages = [bytes([number % 256]) * TLS_RECORD for number in range(1000)]
    ready = Event()
    errors: list[BaseException] = []

    def handler(sock: Any, _peer: object) -> None:
        sending = gevent.spawn(lambda: [sock.sendall(message) for message in messages])
        wait_until(lambda: sock.records.outbox.is_midway)
        try:
            sock.sendall(b"other")
        except ConcurrentObjectUseError as error:
            errors.append(error)
        ready.set()
        sending.get()
        sock.sendall(b"last")

    with running(TcpServer(LOCAL, handler, ssl_context=server_context())) as server, dial_tls(server) as client:
        assert ready.wait(PATIENCE)
        data = read_to_end(client)
        assert server.counters["bytes_sent"] == len(data)
    assert data == b"".join(messages) + b"last"
    assert len(errors) == 1


def test_a_handler_that_half_closes_reads_on_to_the_end() -> None:
    seen: list[bytes] = []

    def handler(sock: Any, _peer: object) -> None:
        sock.sendall(b"bye")
        sock.shutdown(socket.SHUT_WR)
        seen.extend(iter(lambda: sock.recv(100), b""))
        seen.append(sock.recv(1))

    with running(TcpServer(LOCAL, handler, ssl_context=server_context())) as server, dial(server) as raw:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        handshake_in_memory(tls, incoming, outgoing, raw)
        incoming.write(read_to_end(raw))
        assert (tls.read(100), tls.read(100)) == (b"bye", b"")
        tls.write(b"end")
        tls.unwrap()
        raw.sendall(outgoing.read())
        wait_for_ending(server, "handler")
    assert seen == [b"end", b""]


def test_a_context_of_the_standard_library_is_accepted() -> None:
    import ssl as stdlib_ssl

    context = stdlib_ssl.SSLContext(stdlib_ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(context)
    with running(EchoServer(LOCAL, ssl_context=context)) as server, dial_tls(server) as one, dial_tls(server) as two:
        ping(one)
        ping(two)


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


def test_contexts_and_targets_that_do_not_fit_are_refused() -> None:
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


def test_a_server_with_a_tls_target_can_be_started_again() -> None:
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


def test_a_server_serves_tls_over_a_unix_socket(tmp_path: Any) -> None:
    server = TcpServer(f"unix:{tmp_path}/s", echo_handler, ssl_context=server_context())
    with running(server):
        with dial_tls(server) as client:
            assert str(server.address).startswith("unix:/")
            ping(client)
            client.unwrap()
        wait_for_ending(server, "handler")


def test_an_ended_connection_is_freed_without_the_cycle_collector(server: TcpServer) -> None:
    from geventecho.server.tls import TlsConnection
    from geventecho.server.tls_socket import TlsSocket

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
        wait_until(lambda: parts() == before, 10 * UNIT, goal="the parts of the ended connections are freed")
    finally:
        gc.enable()
