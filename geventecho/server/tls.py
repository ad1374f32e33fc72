"""TLS of accepted connections: the shared settings, the handshake, the echo's reads and writes."""

from __future__ import annotations

import errno
import os
import ssl as stdlib_ssl
from typing import Any, Final

import gevent
from gevent import socket, ssl
from gevent.lock import Semaphore
from gevent.monkey import get_original

from geventecho.address import SockAddr
from geventecho.errors import ConfigError
from geventecho.net import TLS_RECORD, is_broken, unsent, wait_ready
from geventecho.server.closing import LINGER_MAX, LINGER_SECONDS
from geventecho.server.connection import Clock, Connection, Ended, HandshakeFailed
from geventecho.server.counters import Ending, HandshakeFailure, Traffic
from geventecho.server.tls_socket import TlsSocket

__all__ = ["Tls", "TlsConnection"]

Failure = HandshakeFailure
REASONS: Final = (
    (("ALERT",), Failure.ALERT),
    (("PEER_DID_NOT_RETURN_A_CERTIFICATE",), Failure.NO_CERTIFICATE),
    (("CERTIFICATE_VERIFY_FAILED",), Failure.BAD_CERTIFICATE),
    (("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "INAPPROPRIATE_FALLBACK"), Failure.VERSION),
    (("NO_SHARED", "NO_SUITABLE", "NO_CIPHERS"), Failure.CIPHER),
    (("HTTP", "WRONG_VERSION_NUMBER", "RECORD", "UNEXPECTED", "LENGTH", "DECODE", "BAD_"), Failure.NOT_TLS),
)
"""Parts of OpenSSL's reason codes, in the order of the search."""


class Tls:
    """The settings that the TLS connections of a server share.

    Args:
        context: for the handshakes.
        alpn: protocols of which a client has to offer one, or None.

    Attributes:
        context: the context of the next handshakes. A connection keeps the context that it began with.
    """

    def __init__(self, context: object, alpn: tuple[str, ...] | None) -> None:
        self.alpn = alpn
        self.use(context)
        # A step of a handshake takes up to a millisecond. Steps run one by one, and other greenlets run in between.
        self.handshake_turn = Semaphore()

    def use(self, context: object) -> None:
        """Take another context for the next handshakes.

        Raises:
            ConfigError: it is not a context, or it is a context for clients.
        """
        self.context = _checked(context)
        if self.alpn is not None:
            self.context.set_alpn_protocols(self.alpn)

    def connection(self, sock: socket.socket, sockaddr: SockAddr, clock: Clock, traffic: Traffic) -> TlsConnection:
        """Make the state of a connection that was just accepted."""
        return TlsConnection(sock, sockaddr, clock, traffic, self)


class TlsConnection(Connection):
    """The state of a TLS connection. `pending` and the counts are of unencrypted bytes."""

    # The records, the outbox and the read event are copied from the socket, where each look-up is slow.
    __slots__ = ("_outbox", "_read_event", "_records", "_secured", "_tls")
    closed_alone = (Ending.RESET, Ending.VANISHED)
    can_splice = False

    def __init__(self, sock: socket.socket, sockaddr: SockAddr, clock: Clock, traffic: Traffic, tls: Tls) -> None:
        super().__init__(sock, sockaddr, clock, traffic)
        self._tls = tls
        self._secured = False

    def begin(self) -> None:
        try:
            sock = self.sock = TlsSocket(self.sock, self._tls.context)
            if sock.records is None:
                raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
            self._records, self._outbox, self._read_event = sock.records, sock.records.outbox, sock._read_event
            self._shake_hands()
        except Ended:
            if self.end_reason is not Ending.HANDSHAKE:
                raise
            raise HandshakeFailed(Failure.TIMEOUT) from None
        except OSError as error:
            raise HandshakeFailed(_failure(error)) from error
        self._secured = True
        self.last_byte_at = self.clock.now
        if self._tls.alpn is not None and sock.selected_alpn_protocol() is None:
            raise HandshakeFailed(Failure.ALPN)

    def _shake_hands(self) -> None:
        is_done = False
        while not is_done:
            socket.wait(self._read_event)
            try:
                self._records.take()
            except BlockingIOError:
                continue
            with self._tls.handshake_turn:
                try:
                    is_done = self._records.shake_hands()
                finally:
                    gevent.sleep(0)
            # A client may close after its handshake; it does not need the tickets that the server sends last.
            while not self._records.try_flush():
                socket.wait(self.sock._write_event)

    def receive(self, size: int) -> bytes:
        records = self._records
        if records.has_more and records.layer.pending():
            gevent.sleep(0)
        else:
            socket.wait(self._read_event)
        size = min(size, TLS_RECORD)
        while True:
            try:
                data: bytes = records.read(size)
            except BlockingIOError:
                self.check_flood()
                socket.wait(self._read_event)
            else:
                self.count_read(len(data))
                return data

    def send(self, data: memoryview) -> None:
        try:
            sent = self._outbox.send(data)
        except BlockingIOError:
            sent = 0
        if sent:
            self.count_written(sent)
        self.pending = data[sent:] if sent < len(data) else None

    def flush(self) -> None:
        while self.pending is not None:
            socket.wait(self.sock._write_event)
            self.send(self.pending)

    def end_stream(self) -> None:
        if self._secured:
            self._notify_close()
        super().end_stream()

    def _notify_close(self) -> None:
        """Send the close_notify, and wait for room as long as the peer takes bytes.

        The kernel reports room only when a third of its queue is empty.
        """
        sock, last = self.sock, self.clock.now + LINGER_MAX
        while not sock.notify_close() and self.clock.now < last:
            waiting = unsent(sock.fileno())
            if not wait_ready(sock._write_event, LINGER_SECONDS) and unsent(sock.fileno()) >= waiting:
                return

    def discard(self, size: int) -> bytes:
        """Read bytes that come after our FIN. They are not decrypted, which OpenSSL refuses, and not counted."""
        data: bytes = self.sock._sock.recv(size)
        self.discarded_at = self.clock.now
        return data

    def is_broken_by(self, error: BaseException) -> bool:
        return isinstance(error, ssl.SSLError) or super().is_broken_by(error)

    def count_destroyed(self, size: int) -> None:
        """Count bytes that the kernel will not deliver. They are encrypted: no more than the sent bytes are counted."""
        super().count_destroyed(min(size, self.sent))

    def announce_input(self) -> None:
        self._records.announce()

    def check_flood(self) -> None:
        if self._records.is_flood:
            self.end(Ending.NO_PAYLOAD)

    @property
    def channel(self) -> Any:
        return self._records

    @property
    def is_secured(self) -> bool:
        return self._secured

    @property
    def is_truncated(self) -> bool:
        return self._records.truncated


def _checked(context: object) -> stdlib_ssl.SSLContext:
    # A context that was made before monkey-patching is of the original class.
    if not isinstance(context, get_original("ssl", "SSLContext")):
        raise ConfigError(f"ssl_context is {context!r}; it must be an SSLContext")
    if context.protocol == stdlib_ssl.PROTOCOL_TLS_CLIENT or context.check_hostname:
        raise ConfigError("ssl_context is one for clients; make it with ssl.PROTOCOL_TLS_SERVER")
    return context  # type: ignore[no-any-return]


def _failure(error: OSError) -> HandshakeFailure:
    """Return the reason for a failed handshake."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLSyscallError) or is_broken(error):
        return Failure.GONE
    reason = getattr(error, "reason", None) or ""
    for parts, failure in REASONS:
        if any(part in reason for part in parts):
            return failure
    return Failure.OTHER
