"""A server that changes to TLS by STARTTLS, as SMTP servers do."""

from __future__ import annotations

import socket

from tests.support.tls import peer_context

__all__ = ["smtp"]


def smtp(connection: socket.socket, after: bytes = b"") -> None:
    """Greet, agree to STARTTLS, send `after` in plain text with the reply, then echo through TLS."""
    connection.sendall(b"220 mail\r\n")
    assert connection.recv(100) == b"STARTTLS\r\n"
    connection.sendall(b"220 ready\r\n" + after)
    with peer_context().wrap_socket(connection, server_side=True) as secure:
        while data := secure.recv(65536):
            secure.sendall(data)
