"""The client through TLS: streams, ends, sessions, ALPN, client certificates, STARTTLS."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import ssl
import subprocess
import threading
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
from geventecho.framing import Exactly, Until, UntilClosed
from geventecho.server.tcp_server import TcpServer
from tests.support import peers
from tests.support.clients import MIB, fails, nothing_armed
from tests.support.locust_process import free_port
from tests.support.servers import running
from tests.support.starttls import smtp
from tests.support.timing import PATIENCE, UNIT, wait_until
from tests.support.tls import AUTHORITY, TLS12, TLS13, Files, handshake_in_memory, peer_context, tls_peer, tls_server

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


# Streams.


@BOTH
@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 65536, 65537, 200_001])
def test_every_byte_comes_back(tls: Tls, version: ssl.TLSVersion, size: int) -> None:
    payload = os.urandom(size)
    with running(tls_server(context=peer_context(version))) as server, connect(where(server), tls=tls) as client:
        assert client.tls is not None
        assert client.tls.version == version.name.replace("_", ".")
        for _ in range(3):
            assert client.echo(payload) == payload
        assert client.request(b"a line\n", Until(b"\n")) == b"a line\n"
        assert nothing_armed(client)
        assert (client.bytes_sent, client.bytes_received) == (3 * size + 7, 3 * size + 7)


@pytest.mark.parametrize("size", [64 * MIB, pytest.param(256 * MIB, marks=pytest.mark.long)])
def test_a_large_echo_is_full_duplex(tls: Tls, size: int) -> None:
    """The server stops reading when nobody reads from it: an echo that only wrote at first would never end."""
    with running(tls_server()) as server, connect(where(server), tls=tls) as client:
        client.echo(os.urandom(MIB) * (size // MIB), timeout=100)
        stream = client._wire.tls
        assert stream is not None
        assert stream._outbox.size < 2**17


def test_a_message_that_the_peer_sends_at_once(tls: Tls) -> None:
    """It may come with the handshake's last bytes, where no watcher sees it."""

    def greet(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"hello\r\n")
        connection.recv(1)

    for version in (TLS12, TLS13):
        with tls_peer(greet, peer_context(version)) as peer, connect(peer.target, tls=tls) as client:
            assert client.receive(Until(b"\r\n"), timeout=20 * UNIT) == b"hello\r\n"


def test_recv_gives_no_more_than_it_is_asked_for(tls: Tls) -> None:
    def send(connection: ssl.SSLSocket) -> None:
        connection.sendall(bytes(range(256)) * 400)
        connection.recv(1)

    with tls_peer(send) as peer, connect(peer.target, tls=tls) as client:
        came = b""
        while len(came) < 102_400:
            piece = client.recv(1000)
            assert 0 < len(piece) <= 1000
            came += piece
        assert came == bytes(range(256)) * 400


def test_one_greenlet_sends_and_another_one_receives(tls: Tls) -> None:
    digest = hashlib.sha256()
    sent = hashlib.sha256()
    with running(tls_server()) as server, connect(where(server), tls=tls) as client:

        def send() -> None:
            for _ in range(100):
                piece = os.urandom(50_000)
                sent.update(piece)
                client.send(piece)
            client.end()

        sending = gevent.spawn(send)
        for chunk in client:
            digest.update(chunk)
        sending.get()
    assert digest.digest() == sent.digest()


# Ends.


@BOTH
def test_close_sends_close_notify_and_no_reset(tls: Tls, version: ssl.TLSVersion) -> None:
    """The tickets of TLS 1.3 are unread then: close(2) alone would send RST instead of FIN."""
    ends: list[object] = []
    has_sent_tickets = threading.Event()

    def read(connection: ssl.SSLSocket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # which sends the second ticket, too
        has_sent_tickets.set()
        try:
            while data := connection.recv(100):
                ends.append(data)
            with socket.socket(fileno=os.dup(connection.fileno())) as raw:
                ends.append(raw.recv(1))
        except OSError as error:
            ends.append(error)

    with tls_peer(read, peer_context(version)) as peer:
        client = connect(peer.target, tls=tls)
        client.send(b"all")
        wait_until(has_sent_tickets.is_set)
        client.close()
        client.close()
        wait_until(lambda: len(ends) == 2)
    assert ends == [b"all", b""]


@BOTH
def test_the_peer_closes_in_order_and_waits_for_us(tls: Tls, version: ssl.TLSVersion) -> None:
    """It sends no FIN before it has our close_notify, as Python's unwrap() does."""

    def tell(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"all")
        connection.unwrap()

    with tls_peer(tell, peer_context(version)) as peer, connect(peer.target, tls=tls) as client:
        assert client.receive(UntilClosed(), timeout=20 * UNIT) == b"all"
        assert client.recv() == b""


def test_a_raw_fin_is_truncated(tls: Tls) -> None:
    def cut(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"half of")
        socket.socket(fileno=connection.detach()).close()

    with tls_peer(cut) as peer, connect(peer.target, tls=tls) as client:
        assert client.recv_exactly(7) == b"half of"
        error = fails(errors.Truncated, lambda: client.receive(UntilClosed()))
        assert error.kind == "truncated"
    with tls_peer(cut) as peer, connect(peer.target, tls=tls) as client:
        client.recv_exactly(7)
        wait_until(lambda: client._wire.poll(0))
        fails(errors.ClosedByPeer, lambda: client.echo(b"x"))


def test_a_stalled_reader_costs_a_timeout_and_tears_the_stream(tls: Tls) -> None:
    stopped = threading.Event()
    with tls_peer(lambda _: stopped.wait(PATIENCE)) as peer, connect(peer.target, tls=tls) as client:
        fails(errors.WriteTimeout, lambda: client.send(bytes(64 * MIB), timeout=3 * UNIT), after=3 * UNIT)
        assert nothing_armed(client)
        fails(errors.TornStream, lambda: client.send(b"x"))
        stopped.set()


def test_a_record_that_comes_in_two_parts_is_kept(tls: Tls) -> None:
    """The time limit passes in the middle of a record; the next call gets all of it."""
    may_go_on = threading.Event()

    def in_two_parts(connection: socket.socket) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        layer = peer_context().wrap_bio(incoming, outgoing, server_side=True)
        handshake_in_memory(layer, incoming, outgoing, connection)
        layer.write(b"0123456789" * 10)
        record = outgoing.read()
        connection.sendall(record[:50])
        may_go_on.wait(PATIENCE)
        connection.sendall(record[50:])
        connection.recv(1)

    with peers.Peer(in_two_parts) as peer, connect(peer.target, tls=tls) as client:
        fails(errors.ReadTimeout, lambda: client.recv_exactly(100, timeout=3 * UNIT), after=3 * UNIT)
        may_go_on.set()
        assert client.recv_exactly(100) == b"0123456789" * 10


@BOTH
def test_a_reply_is_not_lost_for_what_follows_it(tls: Tls, version: ssl.TLSVersion) -> None:
    """Junk comes in the same recv(2) as the reply; the failure is told at each read after it."""
    told = threading.Event()

    def reply(connection: ssl.SSLSocket) -> None:
        assert connection.recv(100) == b"ask"
        with socket.socket(fileno=os.dup(connection.fileno())) as raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            connection.sendall(b"hello")
            raw.sendall(b"plain text")
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        told.wait(PATIENCE)

    with tls_peer(reply, peer_context(version)) as peer, connect(peer.target, tls=tls) as client:
        client.send(b"ask")
        wait_until(lambda: client._wire.poll(0))
        assert client.recv_exactly(5) == b"hello"
        for _ in range(2):
            error = fails(errors.TlsError, lambda: client.recv_exactly(1, timeout=20 * UNIT))
            assert "wrong version number" in str(error)
        told.set()
    told.clear()
    with tls_peer(reply, peer_context(version)) as peer, connect(peer.target, tls=tls) as client:
        error = fails(errors.TlsError, lambda: client.request(b"ask", Exactly(6), timeout=20 * UNIT))
        assert error.kind == "TLS failed"
        told.set()


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
