"""The client's TLS handshake: sessions, ALPN, client certificates, STARTTLS, and servers of other people's."""

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
    """A server of other people's, with its standard streams; ended with the block."""
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

    wait_until(dial, what="the server")
    return found[0]


def where(server: TcpServer) -> Address:
    assert server.address is not None
    return server.address


# What a handshake agrees on.


@BOTH
def test_a_session_is_resumed(pem: Files, version: ssl.TLSVersion) -> None:
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


def test_a_client_certificate_and_alpn(pem: Files, tmp_path: Path) -> None:
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


def test_the_name_that_the_server_is_told(pem: Files) -> None:
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


def test_a_context_of_ones_own(pem: Files) -> None:
    context = ssl.create_default_context(cafile=str(pem.authority))
    with running(tls_server()) as server, connect(("127.0.0.1", where(server).port), tls=context) as client:
        assert client.target.scheme == "tls"
        assert client.echo(b"x") == b"x"


def test_a_context_is_made_once(pem: Files) -> None:
    assert context_of(Tls(ca=str(pem.authority))) is context_of(Tls(ca=str(pem.authority)))


def test_a_ping_measures_to_the_read(tls: Tls) -> None:
    with running(tls_server()) as server:
        answers = list(pings(where(server), count=3, interval=0, tls=tls))
    assert all(answer.seconds and answer.seconds > 0 for answer in answers)


def test_a_storm_of_handshakes_beside_echoes(pem: Files, tls: Tls) -> None:
    """Each takes a millisecond of this process; none fails, and the echoes go on."""
    trips = []
    with serve(*pem.options) as server, connect(server.target, tls=tls) as witness:
        before = server.descriptors
        storm = [
            gevent.spawn_later(number / 200, lambda: connect(server.target, tls=tls).close()) for number in range(100)
        ]
        while not all(one.ready() for one in storm):
            began = time.monotonic()
            assert witness.echo(b"x" * 64) == b"x" * 64
            trips.append(1000 * (time.monotonic() - began))
        gevent.joinall(storm, raise_error=True)
        wait_until(lambda: server.descriptors <= before)
        assert not server.errors
    figure("p99 of an echo beside 200 handshakes a second, ms", round(sorted(trips)[len(trips) * 99 // 100], 1))
    assert len(trips) > 20


# STARTTLS.


def test_starttls(tls: Tls) -> None:
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
    """CVE-2011-0411: somebody between adds an answer, which would be taken for one that came through TLS."""
    with peers.Peer(lambda connection: smtp(connection, b"250 injected\r\n")) as peer, connect(peer.target) as client:
        client.receive(Until(b"\r\n"))
        client.request(b"STARTTLS\r\n", Until(b"\r\n"))
        error = fails(errors.PlainBeforeTls, lambda: client.start_tls(tls))
        assert error.kind == "plain bytes before TLS"
        assert client.recv() == b"250 injected\r\n"


def test_the_ssl_request_of_postgresql(tls: Tls) -> None:
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


# Servers of other people's.


@needs_openssl
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_openssl_s_server(pem: Files, tls: Tls, version: str) -> None:
    port = free_port()
    command = ["openssl", "s_server", "-accept", str(port), "-cert", str(pem.certificate), "-key", str(pem.key)]
    with program(*command, "-rev", version), dialled(port, tls) as client:
        assert client.request(b"abc\n", Until(b"\n")) == b"cba\n"
        client.end()
        assert client.recv() == b""


@needs_redis
def test_redis_through_tls(pem: Files, tls: Tls) -> None:
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
