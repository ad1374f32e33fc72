"""Each failure of TLS has its own error with advice, comes within its time limit, and leaks nothing."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventecho import errors
from geventecho.client import Tls
from geventecho.client.connecting import connect
from tests.support import peers
from tests.support.clients import fails
from tests.support.timing import PATIENCE, UNIT, wait_until
from tests.support.tls import AUTHORITY, STRANGER, TLS12, TLS13, Files, peer_context, tls_peer

pytestmark = pytest.mark.usefixtures("no_leaks")
NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


@pytest.fixture
def tls(pem: Files) -> Tls:
    return Tls(ca=str(pem.authority))


def with_certificate(leaf: Any) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def self_signed(purpose: str = "SERVER_AUTH") -> Any:
    """A self-signed certificate for 127.0.0.1 and its key, as PEM; "CLIENT_AUTH" makes it one of a client."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alone")])
    host = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    use = x509.ExtendedKeyUsage([getattr(x509.oid.ExtendedKeyUsageOID, purpose)])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW - DAY, NOW + DAY)
    made = made.add_extension(host, False).add_extension(use, False)
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def test_a_self_signed_certificate_is_refused_unless_it_is_trusted(tls: Tls, tmp_path: Path) -> None:
    both = tmp_path / "alone.pem"
    both.write_bytes(self_signed())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with tls_peer(lambda _: None, context) as peer:
        error = fails(errors.UnknownAuthority, lambda: connect(peer.target, tls=tls))
        assert "it is self-signed" in str(error)
        connect(peer.target, tls=Tls(ca=str(both))).close()
        connect(peer.target, tls=Tls(insecure=True)).close()


def test_a_certificate_for_another_purpose_is_refused(tmp_path: Path) -> None:
    both = tmp_path / "client.pem"
    both.write_bytes(self_signed("CLIENT_AUTH"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    with tls_peer(lambda _: None, context) as peer:
        error = fails(errors.CertificateRefused, lambda: connect(peer.target, tls=Tls(ca=str(both))))
    assert error.kind == "certificate refused"
    assert "purpose" in str(error)


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_the_server_gets_the_alert_of_an_unknown_authority(version: ssl.TLSVersion) -> None:
    reasons: list[str | None] = []

    def shake_hands(connection: socket.socket) -> None:
        try:
            peer_context(version).wrap_socket(connection, server_side=True).close()
        except ssl.SSLError as error:
            reasons.append(error.reason)

    with peers.Peer(shake_hands) as peer:
        fails(errors.UnknownAuthority, lambda: connect(f"tls://127.0.0.1:{peer.port}"))
        wait_until(lambda: reasons)
    assert reasons == ["TLSV1_ALERT_UNKNOWN_CA"]


def issued(*names: str, begin: int = -1, end: int = 1) -> Any:
    """A certificate of AUTHORITY that is valid from `begin` to `end`, in days from now."""
    return AUTHORITY.issue_cert(*names, not_before=NOW + begin * DAY, not_after=NOW + end * DAY)


@pytest.mark.parametrize(
    ("leaf", "kind", "name"),
    [
        (STRANGER.issue_cert("127.0.0.1"), errors.UnknownAuthority, "unknown authority"),
        (issued("127.0.0.1", begin=-2, end=-1), errors.CertificateExpired, "certificate expired"),
        (issued("127.0.0.1", begin=1, end=2), errors.CertificateNotYetValid, "certificate not yet valid"),
        (issued("other.example", "127.0.0.2"), errors.WrongHostName, "wrong host name"),
    ],
    ids=["unknown authority", "expired", "not yet valid", "other host"],
)
@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
def test_a_certificate_that_cannot_be_trusted_is_refused(
    tls: Tls, leaf: Any, kind: type[errors.TlsError], name: str, version: ssl.TLSVersion
) -> None:
    context = with_certificate(leaf)
    context.maximum_version = version
    with tls_peer(lambda _: None, context) as peer:
        error = fails(kind, lambda: connect(peer.target, tls=tls))
        assert (error.kind, error.phase) == (name, "tls")
        connect(peer.target, tls=Tls(insecure=True)).close()


def test_the_certificate_is_checked_for_the_given_server_name(pem: Files) -> None:
    with tls_peer(lambda _: None, with_certificate(AUTHORITY.issue_cert("other.example"))) as peer:
        connect(peer.target, tls=Tls(ca=str(pem.authority), server_name="other.example")).close()
        fails(
            errors.WrongHostName,
            lambda: connect(peer.target, tls=Tls(ca=str(pem.authority), server_name="127.0.0.1")),
        )


@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["1.2", "1.3"])
@pytest.mark.parametrize("given", ["none", "unknown"])
def test_a_missing_or_unknown_client_certificate_is_named(
    pem: Files, tmp_path: Path, version: ssl.TLSVersion, given: str
) -> None:
    context = peer_context(version)
    AUTHORITY.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    mine = tmp_path / "mine.pem"
    STRANGER.issue_cert("client").private_key_and_cert_chain_pem.write_to_path(str(mine))
    tls = Tls(ca=str(pem.authority), cert=str(mine) if given == "unknown" else None)

    def talk() -> None:
        with connect(peer.target, tls=tls) as client:
            client.echo(b"x")

    with tls_peer(lambda _: None, context) as peer, pytest.raises(errors.TlsError) as caught:
        talk()
    # TLS 1.2 has no alert of its own for a missing certificate.
    missing = errors.NoCommonProtocol if version == TLS12 else errors.CertificateRequired
    assert type(caught.value) is (errors.ClientCertificateRefused if given == "unknown" else missing)
    assert "--tls-cert" in str(caught.value) or given == "unknown"


def test_a_send_that_fails_tells_why_the_server_refused(tls: Tls) -> None:
    """In TLS 1.3 the server refuses after the client's handshake: the alert is unread when the connection is reset."""
    context = peer_context(TLS13)
    context.verify_mode = ssl.CERT_REQUIRED
    with tls_peer(lambda _: None, context) as peer, connect(peer.target, tls=tls) as client:

        def send() -> None:
            for _ in range(100):
                client.send(b"x")

        wait_until(lambda: not peer.open)
        fails(errors.CertificateRequired, send)


def test_a_missing_common_version_or_cipher_is_named(tls: Tls) -> None:
    only12 = peer_context(TLS12)
    context = ssl.create_default_context(cafile=tls.ca)
    context.minimum_version = TLS13
    with tls_peer(lambda _: None, only12) as peer:
        error = fails(errors.NoCommonProtocol, lambda: connect(peer.target, tls=context))
        assert error.kind == "no common protocol or cipher"
    only12.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    context = ssl.create_default_context(cafile=tls.ca)
    context.maximum_version = TLS12
    context.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384")
    with tls_peer(lambda _: None, only12) as peer:
        fails(errors.NoCommonProtocol, lambda: connect(peer.target, tls=context))


def test_the_alert_about_alpn_is_named() -> None:
    """The servers of Go and Node send it, OpenSSL's s_server does not: this peer sends its bytes."""

    def refuse(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(bytes.fromhex("15030300020278"))
        connection.recv(65536)

    with peers.Peer(refuse) as peer:
        error = fails(
            errors.NoCommonAlpn, lambda: connect(f"tls://127.0.0.1:{peer.port}", tls=Tls(insecure=True, alpn=("x",)))
        )
        assert error.kind == "no common ALPN protocol"


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        (peers.echoes(), "plain echo server"),
        (peers.sends_unsolicited(b"220 mail\r\n"), "220 mail"),
        (peers.replies_with(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "HTTP/1.1 400"),
        (peers.replies_with(b"-ERR \x1b[31m\xff\r\n", pieces=3, pause=0.01), "-ERR"),
        (peers.floods(), "xxxx"),
        (peers.sends_unsolicited(b"\x15 menu\r\n"), "menu"),
    ],
    ids=["echo", "greeting", "http", "pieces", "flood", "type of a record"],
)
def test_a_peer_that_does_not_speak_tls_is_named(peer: peers.Peer, words: str, tls: Tls) -> None:
    with peer:
        error = fails(errors.NotTls, lambda: connect(peer.target, tls=tls))
        assert error.kind == "not TLS"
        assert words in str(error)
        assert str(error).isprintable()


def test_a_close_or_a_reset_in_the_handshake_is_named(tls: Tls) -> None:
    def close(connection: socket.socket) -> None:
        connection.recv(65536)

    with peers.Peer(close) as peer:
        error = fails(errors.HandshakeClosed, lambda: connect(peer.target, tls=tls))
        assert error.kind == "closed in handshake"
    with peers.resets_after(0) as peer, pytest.raises(errors.NetworkError) as caught:
        connect(peer.target, tls=tls)
    assert isinstance(caught.value, errors.PeerReset | errors.ConnectReset | errors.HandshakeClosed)


def test_the_time_limit_is_for_the_whole_handshake_and_not_for_each_read(tls: Tls) -> None:
    def trickle(connection: socket.socket) -> None:
        for byte in bytes.fromhex("1603030fa002") + bytes(1000):
            connection.sendall(bytes([byte]))
            time.sleep(UNIT / 4)

    for peer in (peers.never_replies(), peers.Peer(trickle)):
        with peer:
            dial = partial(connect, peer.target, tls=tls, connect_timeout=4 * UNIT)
            error = fails(errors.HandshakeTimeout, dial, after=4 * UNIT)
            assert error.kind == "handshake timeout"
            assert isinstance(error, TimeoutError)
            gevent.sleep(0)


def test_a_close_by_another_greenlet_ends_the_handshake(tls: Tls) -> None:
    begun = Event()
    with peers.never_replies() as peer:
        client = connect(peer.target, tls=tls, handshake=False)

        def close() -> None:
            begun.wait()
            with pytest.raises(errors.ConcurrentUse):
                client.send(b"plain")
            client.close()

        closing = gevent.spawn(close)
        gevent.spawn(begun.set)
        fails(errors.ClosedLocally, lambda: client.start_tls(tls))
        closing.get()


def test_a_broken_record_is_a_tls_error(tls: Tls) -> None:
    go_on = threading.Event()

    def spoil(connection: ssl.SSLSocket) -> None:
        raw = socket.socket(fileno=connection.detach())
        with raw:
            raw.sendall(b"\x17\x03\x03\x00\x20" + bytes(32))
            go_on.wait(PATIENCE)

    with tls_peer(spoil) as peer, connect(peer.target, tls=tls) as client:
        error = fails(errors.TlsError, client.recv)
        assert "mac" in str(error)
        go_on.set()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Tls(key="x"), "Tls.key is the key of a certificate"),
        (lambda: Tls(ca="x", insecure=True), "Tls.ca would have no effect"),
        (lambda: Tls(alpn=("",)), "1 to 255 ASCII characters"),
        (lambda: Tls(alpn="h2"), "must be a tuple"),  # type: ignore[arg-type]
        (lambda: Tls(ca=""), "must be text"),
        (lambda: connect("tls://127.0.0.1:1", tls="x"), "must be a geventecho.Tls"),  # type: ignore[arg-type]
        (lambda: connect("tls://127.0.0.1:1", tls=peer_context()), "for servers"),
        (lambda: connect("tls://127.0.0.1:1", tls=Tls(ca=__file__)), "no certificate in"),
        (lambda: connect("tls://127.0.0.1:1", tls=Tls(ca="/")), "cannot be read"),
    ],
)
def test_a_wrong_value_is_a_config_error(make: Any, words: str) -> None:
    with pytest.raises(errors.ConfigError, match=words):
        make()
