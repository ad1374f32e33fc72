"""Certificates made for this run (trustme), and clients and servers that use them."""

from __future__ import annotations

import contextlib
import os
import socket as stdlib_socket
import ssl as stdlib_ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from gevent import socket, ssl

from geventecho.server.tcp_server import EchoServer, TcpServer
from tests.support import peers
from tests.support.servers import LOCAL, dial

pytest.importorskip("trustme", reason="trustme is in requirements-dev.txt")
import trustme

AUTHORITY = trustme.CA()
STRANGER = trustme.CA()
CERTIFICATE = AUTHORITY.issue_cert("localhost", "127.0.0.1")
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def server_context() -> Any:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(context)
    return context


def peer_context(version: Any = None) -> stdlib_ssl.SSLContext:
    """A server's context for threads: the sockets of a gevent context need a hub."""
    context = stdlib_ssl.SSLContext(stdlib_ssl.PROTOCOL_TLS_SERVER)
    CERTIFICATE.configure_cert(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def client_context(version: Any = None, certificate: trustme.LeafCert | None = None) -> Any:
    """A context that trusts AUTHORITY; with a `version`, for that version of TLS alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    AUTHORITY.configure_trust(context)
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if certificate is not None:
        certificate.configure_cert(context)
    return context


def secured(sock: Any, context: Any = None) -> Any:
    """The TLS client over a connected socket; a FIN without close_notify is an error for it."""
    try:
        return (context or client_context()).wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False)
    except BaseException:
        sock.close()
        raise


def dial_tls(server: TcpServer, context: Any = None) -> Any:
    """A cooperative TLS client of a server in this process."""
    return secured(dial(server), context)


def echo_handler(sock: socket.socket, _peer: object) -> None:
    while data := sock.recv(65536):
        sock.sendall(data)


def tls_server(*, echoes: bool = True, context: Any = None, **options: Any) -> TcpServer:
    """An EchoServer, or a TcpServer whose handler echoes; not started."""
    context = context or server_context()
    if echoes:
        return EchoServer(LOCAL, ssl_context=context, **options)
    return TcpServer(LOCAL, echo_handler, ssl_context=context, **options)


def tls_peer(
    behave: Callable[[stdlib_ssl.SSLSocket], object], context: stdlib_ssl.SSLContext | None = None
) -> peers.Peer:
    """A peer that makes the handshake, serves each connection by `behave`, and closes it with close_notify."""
    context = context or peer_context()

    def serve(connection: stdlib_socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as secure:
            behave(secure)
            secure.settimeout(1)
            with contextlib.suppress(OSError, ValueError):
                secure.unwrap()

    return peers.Peer(serve)


def handshake_in_memory(layer: Any, incoming: Any, outgoing: Any, connection: Any) -> None:
    """Make the handshake of an SSLObject (`wrap_bio`) over `connection`; no record is left unsent."""
    while True:
        try:
            layer.do_handshake()
            break
        except ssl.SSLWantReadError:
            connection.sendall(outgoing.read())
            incoming.write(connection.recv(65536))
    connection.sendall(outgoing.read())


def send_raw_fin(client: socket.socket) -> None:
    """Send FIN without close_notify; reading goes on."""
    with stdlib_socket.socket(fileno=os.dup(client.fileno())) as raw:
        raw.shutdown(stdlib_socket.SHUT_WR)


@dataclass(frozen=True)
class Files:
    """PEM files of a server."""

    certificate: Path
    key: Path
    authority: Path

    @property
    def options(self) -> tuple[str, ...]:
        return "--tls-cert", str(self.certificate), "--tls-key", str(self.key)

    def write(self, leaf: trustme.LeafCert) -> None:
        """Replace the certificate and its key."""
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        self.key.write_bytes(leaf.private_key_pem.bytes())
        self.key.chmod(0o600)


def files(folder: Path) -> Files:
    """Files with CERTIFICATE and its key, and with AUTHORITY for the clients."""
    made = Files(folder / "chain.pem", folder / "key.pem", folder / "authority.pem")
    made.write(CERTIFICATE)
    AUTHORITY.cert_pem.write_to_path(str(made.authority))
    return made
