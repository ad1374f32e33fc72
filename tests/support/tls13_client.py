"""A TLS 1.3 client that makes its own records after the handshake: new keys, and records without payload."""

from __future__ import annotations

import socket
import ssl
import tempfile
from typing import Final

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

HANDSHAKE, APPLICATION_DATA = 22, 23
NEW_KEY: Final = b"\x18\0\0\1\0"
"""KeyUpdate that requests no answer (RFC 8446, 4.6.3)."""
NEW_KEYS: Final = b"\x18\0\0\1\1"
"""KeyUpdate that requests an answer."""


def _expand(secret: bytes, label: str, length: int) -> bytes:
    """HKDF-Expand-Label with an empty context (RFC 8446, 7.1)."""
    name = b"tls13 " + label.encode()
    info = length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0"
    return HKDFExpand(SHA384(), length, info).derive(secret)


class Tls13Client:
    """The socket, and the keys of its records.

    Args:
        sock: connected, blocking, of the standard library.
    """

    def __init__(self, sock: socket.socket) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        with tempfile.NamedTemporaryFile("r") as log:
            context.keylog_filename = log.name
            self.sock = context.wrap_socket(sock)
            assert self.sock.cipher()[0] == "TLS_AES_256_GCM_SHA384"  # type: ignore[index]
            secrets = {line.split()[0]: line.split()[2] for line in log if not line.startswith("#")}
        self._use(bytes.fromhex(secrets["CLIENT_TRAFFIC_SECRET_0"]))

    def _use(self, secret: bytes) -> None:
        self._secret = secret
        self._key, self._nonce = AESGCM(_expand(secret, "key", 32)), int.from_bytes(_expand(secret, "iv", 12), "big")
        self._count = 0

    def record(self, content: bytes, kind: int = APPLICATION_DATA) -> bytes:
        """Encrypt one record. The records after a KeyUpdate have the new key."""
        header = b"\x17\3\3" + (len(content) + 17).to_bytes(2, "big")
        nonce = (self._nonce ^ self._count).to_bytes(12, "big")
        self._count += 1
        made = header + self._key.encrypt(nonce, content + bytes([kind]), header)
        if kind == HANDSHAKE:
            self._use(_expand(self._secret, "traffic upd", 48))
        return made

    def send(self, records: bytes) -> None:
        """Send encrypted records without OpenSSL."""
        socket.socket.sendall(self.sock, records)
