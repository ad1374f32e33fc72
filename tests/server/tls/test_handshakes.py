"""Failed handshakes: each has a counter, all share one log line a second, and no other client is affected."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Any

import gevent
import pytest
from gevent import socket, ssl

from geventecho.server.counters import HandshakeFailure
from geventecho.server.tcp_server import EchoServer, TcpServer
from tests.support.servers import assert_adds_up, dial, ping, read_to_end, running
from tests.support.timing import UNIT, wait_until
from tests.support.tls import (
    AUTHORITY,
    STRANGER,
    TLS12,
    TLS13,
    client_context,
    dial_tls,
    secured,
    server_context,
    tls_server,
)

pytestmark = [pytest.mark.usefixtures("no_leaks"), pytest.mark.faults]
SECRET = b"GET /secret HTTP/1.1\r\nHost: x\r\n\r\n"


def demanding() -> Any:
    """A server's context that asks for certificates of AUTHORITY."""
    context = server_context()
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def only(version: Any) -> Any:
    context = server_context()
    context.minimum_version = context.maximum_version = version
    return context


def ciphers(context: Any, names: str) -> Any:
    context.maximum_version = TLS12
    context.set_ciphers(names)
    return context


def sends(data: bytes, *, end: bool = False) -> Callable[[TcpServer], None]:
    def act(server: TcpServer) -> None:
        with dial(server) as client:
            client.sendall(data)
            if end:
                client.shutdown(socket.SHUT_WR)
            read_to_end(client)

    return act


def connects(context: Any) -> Callable[[TcpServer], None]:
    def act(server: TcpServer) -> None:
        # A client of TLS 1.3 ends its handshake before the server has judged its certificate.
        with pytest.raises((ssl.SSLError, ConnectionError)), dial_tls(server, context) as client:  # noqa: PT012
            ping(client)
            raise AssertionError("the server took the client")

    return act


def distrustful() -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    STRANGER.configure_trust(context)
    return context


def offering(*protocols: str) -> Any:
    context = client_context()
    if protocols:
        context.set_alpn_protocols(protocols)
    return context


CASES: list[tuple[str, Callable[[], Any], Callable[[TcpServer], None]]] = [
    ("gone", server_context, sends(b"", end=True)),
    ("gone", server_context, sends(b"\x16\x03\x01\x02\x00\x01", end=True)),
    ("not_tls", server_context, sends(SECRET)),
    ("not_tls", server_context, sends(b"SSH-2.0-OpenSSH_9.2\r\n")),
    ("not_tls", server_context, sends(bytes(range(255, 0, -1)) * 10)),
    ("version", lambda: only(TLS13), connects(client_context(TLS12))),
    ("version", lambda: only(TLS12), connects(client_context(TLS13))),
    (
        "cipher",
        lambda: ciphers(server_context(), "ECDHE+CHACHA20"),
        connects(ciphers(client_context(), "ECDHE+AESGCM")),
    ),
    ("no_certificate", demanding, connects(client_context())),
    ("no_certificate", demanding, connects(client_context(TLS12))),
    ("bad_certificate", demanding, connects(client_context(certificate=STRANGER.issue_cert("somebody")))),
    ("alert", server_context, connects(distrustful())),
]


@pytest.mark.parametrize("echoes", [True, False], ids=["echo", "handler"])
@pytest.mark.parametrize(("why", "context", "act"), CASES, ids=[f"{case[0]}{at}" for at, case in enumerate(CASES)])
def test_a_failure_has_its_counter_and_one_line(
    echoes: bool,
    why: str,
    context: Callable[[], Any],
    act: Callable[[TcpServer], None],
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server = tls_server(echoes=echoes, context=context())
    server.start()
    try:
        act(server)
        wait_until(lambda: server.counters["ended_handshake"], goal=f"{server.counters}")
    finally:
        server.stop(0)
    counters = server.counters
    failures = {failure.value: counters[f"handshake_{failure.value}"] for failure in HandshakeFailure}
    assert {name: count for name, count in failures.items() if count} == {why: 1}
    assert_adds_up(counters)
    lines = [record.getMessage() for record in caplog.records if record.levelname != "INFO"]
    assert lines == [f"clients turned away within a second: handshake failed: {why} 1"]
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("protocols", [(), ("h2",)])
def test_a_client_without_a_common_alpn_protocol_is_refused(protocols: tuple[str, ...]) -> None:
    with running(tls_server(alpn=("echo/2", "echo/1"))) as server:
        with dial_tls(server, offering("http/1.1", "echo/1")) as client:
            ping(client)
            assert client.selected_alpn_protocol() == "echo/1"
        with dial_tls(server, offering(*protocols)) as client:
            assert read_to_end(client) == b""
        wait_until(lambda: not server.connection_count)
        assert server.counters["handshake_alpn"] == server.counters["ended_handshake"] == 1
        assert_adds_up(server.counters)


def test_a_client_with_a_certificate_is_served() -> None:
    certificate = AUTHORITY.issue_cert("somebody")
    seen: list[Any] = []

    def handler(sock: Any, _peer: object) -> None:
        seen.append(sock.getpeercert()["subjectAltName"])
        sock.sendall(b"hello")

    with running(TcpServer("127.0.0.1:0", handler, ssl_context=demanding())) as server:
        for version in (TLS12, TLS13):
            with dial_tls(server, client_context(version, certificate)) as client:
                assert read_to_end(client) == b"hello"
    assert seen == [(("DNS", "somebody"),)] * 2


def test_failures_are_one_line_a_second_without_the_bytes_of_the_client(caplog: pytest.LogCaptureFixture) -> None:
    with running(tls_server()) as server, dial_tls(server) as good:
        for _ in range(20):
            for _ in range(5):
                sends(SECRET)(server)
            ping(good)
        assert server.counters["handshake_not_tls"] == 100
        wait_until(lambda: not server._registry.refusals._counts, goal="the line")
    lines = [record.getMessage() for record in caplog.records]
    counts = [int(line.rpartition(" ")[2]) for line in lines if "turned away" in line]
    assert 1 <= len(counts) <= 5
    assert sum(counts) == 100
    assert "secret" not in "".join(lines)


@pytest.mark.parametrize("trickles", [False, True], ids=["silent", "trickle"])
def test_the_time_limit_is_for_the_whole_handshake(trickles: bool) -> None:
    limit = 5 * UNIT
    with running(tls_server(tls_handshake_timeout=limit, idle_timeout=None)) as server, dial(server) as client:
        hello = ssl.MemoryBIO()
        tls = client_context().wrap_bio(ssl.MemoryBIO(), hello, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        data = hello.read()

        def trickle() -> None:
            for byte in data:
                client.sendall(bytes([byte]))
                gevent.sleep(UNIT)

        sending = gevent.spawn(trickle) if trickles else None
        with contextlib.suppress(ConnectionResetError):  # a byte came too late to be read
            assert read_to_end(client) == b""
        wait_until(lambda: server.counters["handshake_timeout"] == 1)
        if sending is not None:
            sending.kill()
        assert_adds_up(server.counters)


def test_the_idle_time_begins_after_the_handshake() -> None:
    with running(tls_server(idle_timeout=8 * UNIT)) as server, dial(server) as raw:
        gevent.sleep(5 * UNIT)
        with secured(raw) as client:
            gevent.sleep(5 * UNIT)
            ping(client)


def test_a_handshake_takes_a_slot_of_its_address_and_of_the_server() -> None:
    with running(tls_server(max_connections=2, max_per_address=2)) as server, dial(server), dial(server):
        wait_until(lambda: server.connection_count == 2)
        with dial(server) as third:
            assert third.recv(1) == b""
        assert server.counters["refused_full"] == 1


def test_a_drain_ends_handshakes() -> None:
    server = tls_server(drain_idle=UNIT)
    server.start()
    with dial(server) as client:
        wait_until(lambda: server.connection_count == 1)
        assert server.stop().drained == 1
        assert read_to_end(client) == b""
    assert server.counters["ended_drained"] == 1
    assert_adds_up(server.counters)


def test_another_client_is_served_beside_many_handshakes() -> None:
    with running(tls_server()) as server, dial_tls(server) as good:
        assert isinstance(server, EchoServer)
        context = client_context()
        storms = [gevent.spawn(lambda: dial_tls(server, context).close()) for _ in range(40)]
        while not all(storm.ready() for storm in storms):
            ping(good, os.urandom(100))
        gevent.joinall(storms, raise_error=True)
        wait_until(lambda: server.connection_count == 1)
        assert server.counters["ended_handshake"] == 0
