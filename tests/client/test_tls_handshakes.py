"""The client's TLS handshake: sessions, ALPN, client certificates, STARTTLS, and real servers."""

from __future__ import annotations

import contextlib
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import pytest

from geventecho import errors
from geventecho.address import Address
from geventecho.client import Tls, context_of, pings
from geventecho.client.client import Client
from geventecho.client.connecting import connect
from geventecho.framing import Exactly, Until
from geventecho.server.tcp_server import TcpServer
from tests.support import peers
from tests.support.clients import fails
from tests.support.locust_process import free_port
from tests.support.servers import running, serve
from tests.support.starttls import smtp
from tests.support.timing import figure, wait_until
from tests.support.tls import AUTHORITY, TLS12, TLS13, Files, peer_context, tls_peer, tls_server

pytestmark = pytest.mark.usefixtures("no_leaks")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl")
needs_redis = pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server")
BOTH = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])


@pytest.fixture
def tls(pem: Files) -> Tls:
    return Tls(ca=str(pem.authority))


@contextlib.contextmanager
def program(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A server program with pipes for its standard streams; it is killed at the end of the block."""
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def dialled(port: int, tls: Tls, **options: Any) -> Client:
    """A client, once the server listens."""
    found: list[Client] = []

    def dial() -> bool:
        with contextlib.suppress(errors.ConnectRefused):
            found.append(connect(f"tls://localhost:{port}", tls=tls, **options))
        return bool(found)

    wait_until(dial, goal="the server")
    return found[0]


def address_of(server: TcpServer) -> Address:
    assert server.address is not None
    return server.address


# Parameters of a handshake.


@BOTH
def test_a_session_is_resumed_only_if_asked(pem: Files, version: ssl.TLSVersion) -> None:
    resumed: list[bool] = []

    def echo(connection: ssl.SSLSocket) -> None:
        resumed.append(bool(connection.session_reused))
        connection.sendall(connection.recv(100))
        connection.recv(100)

    for resume in (False, True):
        resumed.clear()
        tls = Tls(ca=str(pem.authority), resume=resume)
        with tls_peer(echo, peer_context(version)) as peer:
            for number in range(3):
                with connect(peer.target, tls=tls) as client:
                    assert client.echo(b"x") == b"x"
                    assert client.tls is not None
                    assert client.tls.resumed is (resume and number > 0)
        assert resumed == [False, resume, resume]


def test_the_server_gets_a_client_certificate_and_alpn(pem: Files, tmp_path: Path) -> None:
    both = tmp_path / "both.pem"
    mine = AUTHORITY.issue_cert("client")
    mine.private_key_and_cert_chain_pem.write_to_path(str(both))
    context = peer_context()
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["echo/1"])
    found: list[Any] = []

    def look(connection: ssl.SSLSocket) -> None:
        found.append((connection.getpeercert(), connection.selected_alpn_protocol()))
        connection.sendall(connection.recv(1))

    tls = Tls(ca=str(pem.authority), cert=str(both), alpn=("echo/2", "echo/1"))
    with tls_peer(look, context) as peer, connect(peer.target, tls=tls) as client:
        client.echo(b"x")
        assert client.tls is not None
        assert client.tls.alpn == "echo/1"
    assert dict(found[0][0])["subjectAltName"] == (("DNS", "client"),)
    assert found[0][1] == "echo/1"


def test_the_server_gets_a_host_name_and_no_ip_address(pem: Files) -> None:
    names: list[str | None] = []
    context = peer_context()
    context.sni_callback = lambda _connection, name, _context: names.append(name)
    with tls_peer(lambda connection: None, context) as peer:
        port = peer.port
        for target, own in (
            (f"tls://localhost:{port}", None),
            (f"tls://127.0.0.1:{port}", None),
            (peer.target, "localhost"),
        ):
            connect(target, tls=Tls(ca=str(pem.authority), server_name=own)).close()
    assert names == ["localhost", None, "localhost"]


def test_a_given_context_is_used(pem: Files) -> None:
    context = ssl.create_default_context(cafile=str(pem.authority))
    with running(tls_server()) as server, connect(("127.0.0.1", address_of(server).port), tls=context) as client:
        assert client.target.scheme == "tls"
        assert client.echo(b"x") == b"x"


def test_equal_options_share_one_context(pem: Files) -> None:
    assert context_of(Tls(ca=str(pem.authority))) is context_of(Tls(ca=str(pem.authority)))


def test_every_ping_through_tls_has_a_time(tls: Tls) -> None:
    with running(tls_server()) as server:
        answers = list(pings(address_of(server), count=3, interval=0, tls=tls))
    assert [answer.error for answer in answers] == [None] * 3
    assert all(answer.seconds and answer.seconds > 0 for answer in answers)


def test_echoes_go_on_beside_100_handshakes(pem: Files, tls: Tls) -> None:
    """A handshake takes a millisecond of this process."""
    trips = []
    with serve(*pem.options) as server, connect(server.target, tls=tls) as witness:
        before = server.descriptors
        handshakes = [
            gevent.spawn_later(number / 200, lambda: connect(server.target, tls=tls).close()) for number in range(100)
        ]
        while not all(handshake.ready() for handshake in handshakes):
            began = time.monotonic()
            assert witness.echo(b"x" * 64) == b"x" * 64
            trips.append(1000 * (time.monotonic() - began))
        gevent.joinall(handshakes, raise_error=True)
        wait_until(lambda: server.descriptors <= before)
        assert not server.errors
    figure("p99 of an echo beside 200 handshakes a second, ms", round(sorted(trips)[len(trips) * 99 // 100], 1))
    assert len(trips) > 3, "several echoes come back before the last handshake"


# STARTTLS.


def test_starttls_encrypts_the_rest_of_the_stream(tls: Tls) -> None:
    with peers.Peer(smtp) as peer, connect(peer.target, timed=True) as client:
        assert client.receive(Until(b"\r\n")) == b"220 mail\r\n"
        assert client.request(b"STARTTLS\r\n", Until(b"\r\n")) == b"220 ready\r\n"
        client.start_tls(tls)
        assert client.echo(bytes(100_000)) == bytes(100_000)
        assert client.tls is not None
        assert client.traffic.read_at == 0
        with pytest.raises(errors.ConfigError, match="uses TLS already"):
            client.start_tls(tls)


def test_plain_bytes_before_the_handshake_are_refused(tls: Tls) -> None:
    """CVE-2011-0411: an attacker on the path adds an answer, which would be taken for one that came through TLS."""
    with peers.Peer(lambda connection: smtp(connection, b"250 injected\r\n")) as peer, connect(peer.target) as client:
        client.receive(Until(b"\r\n"))
        client.request(b"STARTTLS\r\n", Until(b"\r\n"))
        error = fails(errors.PlainBeforeTls, lambda: client.start_tls(tls))
        assert error.kind == "plain bytes before TLS"
        assert client.recv() == b"250 injected\r\n"


def test_the_ssl_request_of_postgresql_begins_tls(tls: Tls) -> None:
    """Eight bytes, and one byte in answer (PostgreSQL's protocol, SSLRequest)."""

    def postgresql(connection: socket.socket) -> None:
        assert connection.recv(100) == bytes.fromhex("0000000804d2162f")
        connection.sendall(b"S")
        with peer_context().wrap_socket(connection, server_side=True) as secure:
            secure.sendall(secure.recv(100))

    with peers.Peer(postgresql) as peer, connect(peer.target) as client:
        assert client.request(bytes.fromhex("0000000804d2162f"), Exactly(1)) == b"S"
        client.start_tls(tls)
        assert client.echo(b"startup") == b"startup"


# Real servers.


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_server_answers_and_closes_in_order(pem: Files, tls: Tls, version: str) -> None:
    port = free_port()
    command = ["openssl", "s_server", "-accept", str(port), "-cert", str(pem.certificate), "-key", str(pem.key)]
    with program(*command, "-rev", version), dialled(port, tls) as client:
        assert client.request(b"abc\n", Until(b"\n")) == b"cba\n"
        client.end()
        assert client.recv() == b""


@needs_redis
def test_redis_answers_through_tls(pem: Files, tls: Tls) -> None:
    port = free_port()
    with program(
        "redis-server", "--port", "0", "--tls-port", str(port), "--bind", "127.0.0.1", "--save", "",
        "--tls-cert-file", str(pem.certificate), "--tls-key-file", str(pem.key), "--tls-auth-clients", "no",
        "--tls-ca-cert-file", str(pem.authority),
    ), dialled(port, tls) as client:  # fmt: skip
        assert client.request(b"PING\r\n", Until(b"\r\n")) == b"+PONG\r\n"
        value = b"x" * 100_000
        assert (
            client.request(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$100000\r\n" + value + b"\r\n", Until(b"\r\n")) == b"+OK\r\n"
        )
        assert client.request(b"GET a\r\n", Exactly(len(value) + 11)) == b"$100000\r\n" + value + b"\r\n"
