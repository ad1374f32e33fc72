"""TLS over one connected socket: the handshake, and a recv and a send that replace the socket's own.

Rules for this file: it waits in the handshake only. OpenSSL works in memory here, and never on the socket. So one
greenlet may read while another one writes. All bytes that came are decrypted at once: no watcher could see data that
waits in OpenSSL.
"""

from __future__ import annotations

import errno
import ssl
from typing import Any, Final

from gevent import socket

from geventecho.address import Address
from geventecho.client.tls import TlsInfo, TlsLike, context_of, server_name_of, sessions_of
from geventecho.client.tls_failures import FIRST_BYTES, closed_in_handshake, is_tls, not_tls, translate_tls
from geventecho.errors import ConfigError, HandshakeTimeout, NetworkError, TlsError, Truncated
from geventecho.net import TLS_RECORD, Deadline, TlsOutbox, translate_io, wait_ready

__all__ = ["TlsStream"]

RECEIVE_SIZE: Final = 65536
"""Bytes that one recv(2) asks the kernel for."""
LATE_ALERTS: Final = frozenset({errno.ECONNRESET, errno.EPIPE})
"""Errors of a write to a server that refused us after the handshake. Its alert may have come before."""


class TlsStream:
    """The encrypted stream of a socket.

    `recv` and `send` do not wait: they raise BlockingIOError. They raise NetworkError for a failure of TLS and OSError
    for a failure of the socket.

    Args:
        sock: a connected gevent socket.
        target: its peer, for the errors.
        tls: the TLS settings.

    Raises:
        ConfigError: `tls` cannot be used, or there is no host name to check in the certificate.
    """

    __slots__ = (
        "_failure", "_first", "_has_ended", "_incoming", "_is_closed", "_last", "_layer", "_name", "_outbox",
        "_sessions", "_sock", "_target",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, target: Address, tls: TlsLike) -> None:
        self._sock = sock
        self._target = target
        self._name = server_name_of(tls, target)
        self._sessions = sessions_of(tls)
        self._incoming, made = ssl.MemoryBIO(), ssl.MemoryBIO()
        session = self._sessions.get((target, self._name)) if self._sessions else None
        try:
            self._layer: Any = context_of(tls).wrap_bio(
                self._incoming, made, server_hostname=self._name, session=session
            )
        except ValueError as error:
            raise ConfigError(f"{self._name!r} is not a server name: {error}") from None
        self._outbox = TlsOutbox(self._layer, made, sock._sock)
        self._first = self._last = b""
        self._has_ended = False  # no more can be decrypted: the peer's close_notify came, or the stream is broken
        self._failure: TlsError | None = None  # raised after the data that came in the same recv(2)
        self._is_closed = False  # our close_notify was sent

    def handshake(self, seconds: float | None) -> bytes:
        """Shake hands. Returns the data that came with the last bytes of the handshake.

        Args:
            seconds: for the whole handshake; None is no limit.

        Raises:
            TlsError: or a subclass.
            PeerReset: the connection broke.
            ClosedLocally: another greenlet closed the connection.
        """
        deadline = Deadline(seconds)
        try:
            while True:
                is_done = self._step()
                while not self._outbox.flush():
                    self._wait(self._sock._write_event, deadline, seconds)
                if is_done:
                    break
                self._wait(self._sock._read_event, deadline, seconds)
                self._take()
            rest = self._decrypt()
        except ssl.SSLError as error:
            self._send_alert()
            raise translate_tls(error, self._target, "tls", self._name, self._last) from None
        except NetworkError:
            raise
        except OSError as error:
            raise translate_io(error, self._target, "tls") from error
        self._keep_session()
        self._last = b""
        return rest

    def _step(self) -> bool:
        try:
            self._layer.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def _wait(self, event: Any, deadline: Deadline, seconds: float | None) -> None:
        if not wait_ready(event, deadline.remaining()):
            silent = "" if self._first else ": the server sent nothing; it may speak no TLS at this port"
            limit = round(seconds or 0.0, 2)  # the connect has taken a part of the caller's limit
            raise HandshakeTimeout(f"no handshake within {limit:g} s{silent}", address=self._target, phase="tls")

    def _take(self) -> None:
        """Give the bytes that came in the handshake to OpenSSL."""
        try:
            data = self._sock._sock.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        if not data:
            raise closed_in_handshake(self._target)
        if len(self._first) < FIRST_BYTES:
            self._first += data[:TLS_RECORD]
            if not is_tls(self._first):
                raise not_tls(self._first, self._target)
        self._last = data
        self._incoming.write(data)

    @property
    def info(self) -> TlsInfo:
        """Version, cipher and protocol that the handshake agreed on."""
        layer = self._layer
        alpn: str | None = layer.selected_alpn_protocol()
        return TlsInfo(layer.version(), layer.cipher()[0], alpn, layer.session_reused)

    @property
    def is_midway(self) -> bool:
        """Whether the kernel has not taken a part of a message that is encrypted: no other message may follow."""
        return self._outbox.is_midway

    def recv(self, _size: int) -> bytes:
        """Return all data that can be decrypted now, of any size; b"" after the peer's close_notify.

        If a fatal alert, or bytes that are not TLS, came after data, the data is returned and the next call raises.
        """
        if self._has_ended:
            if self._failure is not None:
                raise self._failure
            return b""
        data = self._sock._sock.recv(RECEIVE_SIZE)
        if not data:
            raise Truncated(address=self._target)
        self._incoming.write(data)
        try:
            decrypted = self._decrypt()
            self._outbox.flush()  # answers of TLS itself, such as to a key update
        except ssl.SSLError as error:
            self._send_alert()
            raise translate_tls(error, self._target, "read", self._name, data) from None
        if self._sessions is not None:
            self._keep_session()
        if not decrypted and not self._has_ended:
            raise BlockingIOError(errno.EAGAIN, "no whole record has come")
        return decrypted

    def _decrypt(self) -> bytes:
        chunks: list[bytes] = []
        while self._incoming.pending or self._layer.pending():
            try:
                chunk = self._layer.read(TLS_RECORD)
            except ssl.SSLWantReadError:
                break
            except ssl.SSLZeroReturnError:
                chunk = b""
            except ssl.SSLError as error:
                if not chunks:
                    raise
                self._failure = translate_tls(error, self._target, "read", self._name, b"")
                self._send_alert()
                chunk = b""
            if not chunk:
                self._has_ended = True
                # The peer may send no FIN before our end. This makes the read watcher ready, as a FIN does.
                self._shut(socket.SHUT_RD)
                break
            chunks.append(chunk)
        return b"".join(chunks)

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and send a first part of `data`; returns the number of its bytes that are sent.

        After BlockingIOError call it again with the same bytes: they may be encrypted already.
        """
        try:
            return self._outbox.send(data)
        except ssl.SSLWantReadError:  # a renegotiation, which a user's own context may allow
            raise BlockingIOError(errno.EAGAIN, "TLS waits for the peer") from None
        except ssl.SSLError as error:
            raise translate_tls(error, self._target, "write", self._name, b"") from None
        except OSError as error:
            if error.errno in LATE_ALERTS:
                self._find_alert()
            raise

    def _find_alert(self) -> None:
        """Look for an alert in the bytes that came before the connection broke.

        Raises:
            TlsError: there is an alert.
        """
        try:
            while self.recv(RECEIVE_SIZE):
                pass
        except TlsError:
            raise
        except OSError:
            pass

    def _keep_session(self) -> None:
        if self._sessions is None:
            return
        session = self._layer.session
        if session is not None and (session.has_ticket or self._layer.version() != "TLSv1.3"):
            self._sessions[self._target, self._name] = session

    def close_notify(self) -> None:
        """Send our close_notify if the kernel takes it now. Does nothing the second time, or within a message."""
        if self._is_closed or self._outbox.is_midway:
            return
        self._is_closed = True
        try:
            self._layer.unwrap()
        except ssl.SSLError:
            pass  # OpenSSL waits for the peer's close_notify; ours is in the buffer
        self._send_alert()

    def close(self) -> None:
        """Send our close_notify if the kernel takes it now. The caller then closes the socket."""
        try:
            # With unread data, such as session tickets, close(2) would send RST instead of FIN.
            self.recv(RECEIVE_SIZE)
        except OSError:
            pass
        self.close_notify()

    def _send_alert(self) -> None:
        """Send the alert that OpenSSL has made, if the kernel takes it now."""
        try:
            self._outbox.flush()
        except OSError:
            pass  # the connection is broken

    def _shut(self, how: int) -> None:
        try:
            self._sock._sock.shutdown(how)
        except OSError:
            pass  # the connection is broken
