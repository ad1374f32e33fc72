"""The client through TLS: streams and their ends."""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
import threading

import gevent
import pytest

from geventecho import errors
from geventecho.address import Address
from geventecho.client import Tls
from geventecho.client.connecting import connect
from geventecho.framing import Exactly, Until, UntilClosed
from geventecho.server.tcp_server import TcpServer
from tests.support import peers
from tests.support.clients import MIB, fails, nothing_armed
from tests.support.servers import running
from tests.support.timing import PATIENCE, UNIT, wait_until
from tests.support.tls import TLS12, TLS13, Files, handshake_in_memory, peer_context, tls_peer, tls_server

pytestmark = pytest.mark.usefixtures("no_leaks")
BOTH = pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])


@pytest.fixture
def tls(pem: Files) -> Tls:
    return Tls(ca=str(pem.authority))


def address_of(server: TcpServer) -> Address:
    assert server.address is not None
    return server.address


# Streams.


@BOTH
@pytest.mark.parametrize("size", [0, 1, 16383, 16384, 16385, 65536, 65537, 200_001])
def test_every_byte_comes_back(tls: Tls, version: ssl.TLSVersion, size: int) -> None:
    payload = os.urandom(size)
    with running(tls_server(context=peer_context(version))) as server, connect(address_of(server), tls=tls) as client:
        assert client.tls is not None
        assert client.tls.version == version.name.replace("_", ".")
        for _ in range(3):
            assert client.echo(payload) == payload
        assert client.request(b"a line\n", Until(b"\n")) == b"a line\n"
        assert nothing_armed(client)
        assert (client.bytes_sent, client.bytes_received) == (3 * size + 7, 3 * size + 7)


@pytest.mark.parametrize("size", [64 * MIB, pytest.param(256 * MIB, marks=pytest.mark.long)])
def test_a_large_echo_is_full_duplex(tls: Tls, size: int) -> None:
    """The server stops reading while its client does not read: an echo that wrote everything first would never end."""
    with running(tls_server()) as server, connect(address_of(server), tls=tls) as client:
        client.echo(os.urandom(MIB) * (size // MIB), timeout=100)
        stream = client._wire.tls
        assert stream is not None
        assert stream._outbox.size < 2**17


def test_a_message_that_the_peer_sends_at_once_is_received(tls: Tls) -> None:
    """It may come with the last bytes of the handshake: no watcher reports it then."""

    def greet(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"hello\r\n")
        connection.recv(1)

    for version in (TLS12, TLS13):
        with tls_peer(greet, peer_context(version)) as peer, connect(peer.target, tls=tls) as client:
            assert client.receive(Until(b"\r\n"), timeout=20 * UNIT) == b"hello\r\n"


def test_recv_returns_at_most_the_given_number_of_bytes(tls: Tls) -> None:
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
    with running(tls_server()) as server, connect(address_of(server), tls=tls) as client:

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
    """The client has not read the tickets of TLS 1.3: close(2) alone would send RST instead of FIN."""
    ends: list[object] = []
    has_sent_tickets = threading.Event()

    def read(connection: ssl.SSLSocket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # this sends the second ticket, too
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
def test_a_close_notify_without_fin_ends_the_stream(tls: Tls, version: ssl.TLSVersion) -> None:
    """Python's unwrap() sends no FIN before it has the client's close_notify."""

    def tell(connection: ssl.SSLSocket) -> None:
        connection.sendall(b"all")
        connection.unwrap()

    with tls_peer(tell, peer_context(version)) as peer, connect(peer.target, tls=tls) as client:
        assert client.receive(UntilClosed(), timeout=20 * UNIT) == b"all"
        assert client.recv() == b""


def test_a_fin_without_close_notify_is_a_truncated_stream(tls: Tls) -> None:
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


def test_a_peer_that_never_reads_is_a_write_timeout_and_tears_the_stream(tls: Tls) -> None:
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
def test_a_reply_is_received_before_the_failure_of_the_bytes_after_it(tls: Tls, version: ssl.TLSVersion) -> None:
    """One recv(2) has the reply and plain bytes after it; each later read raises the failure."""
    may_end = threading.Event()

    def reply(connection: ssl.SSLSocket) -> None:
        assert connection.recv(100) == b"ask"
        with socket.socket(fileno=os.dup(connection.fileno())) as raw:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
            connection.sendall(b"hello")
            raw.sendall(b"plain text")
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
        may_end.wait(PATIENCE)

    with tls_peer(reply, peer_context(version)) as peer, connect(peer.target, tls=tls) as client:
        client.send(b"ask")
        wait_until(lambda: client._wire.poll(0))
        assert client.recv_exactly(5) == b"hello"
        for _ in range(2):
            error = fails(errors.TlsError, lambda: client.recv_exactly(1, timeout=20 * UNIT))
            assert "wrong version number" in str(error)
        may_end.set()
    may_end.clear()
    with tls_peer(reply, peer_context(version)) as peer, connect(peer.target, tls=tls) as client:
        error = fails(errors.TlsError, lambda: client.request(b"ask", Exactly(6), timeout=20 * UNIT))
        assert error.kind == "TLS failed"
        may_end.set()
