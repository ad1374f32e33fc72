"""TLS of accepted connections: the handshake, reads and writes, the close_notify.

OpenSSL works on the descriptor itself and reads no further than the record that it is asked for. So the kernel's queue
is empty only when all that came has been decrypted, and a FIN that shows in it came without a close_notify before it.
That is asked before each read: OpenSSL itself would answer such a FIN with a fatal alert, after which nothing can be
sent, and the peer may still read.
"""

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
from geventecho.net import is_broken, never_linger, wait_ready
from geventecho.server.closing import LINGER_SECONDS
from geventecho.server.connection import Clock, Connection, Ended, HandshakeFailed
from geventecho.server.counted_socket import TURN, Account
from geventecho.server.counters import Ending, HandshakeFailure, Traffic

__all__ = ["Tls", "TlsConnection", "TlsSocket"]

RECORD: Final = 16384
"""Bytes of payload that one record has at most (RFC 8446, 5.1), and so the most that one read takes."""

Failure = HandshakeFailure
REASONS: Final = (
    (("ALERT",), Failure.ALERT),
    (("PEER_DID_NOT_RETURN_A_CERTIFICATE",), Failure.NO_CERTIFICATE),
    (("CERTIFICATE_VERIFY_FAILED",), Failure.BAD_CERTIFICATE),
    (("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW", "INAPPROPRIATE_FALLBACK"), Failure.VERSION),
    (("NO_SHARED", "NO_SUITABLE", "NO_CIPHERS"), Failure.CIPHER),
    (("HTTP", "WRONG_VERSION_NUMBER", "RECORD", "UNEXPECTED", "LENGTH", "DECODE", "BAD_"), Failure.NOT_TLS),
)
"""Parts of OpenSSL's reason codes, in the order in which they are looked for."""


class Tls:
    """The settings that the TLS connections of a server share.

    Args:
        context: for the handshakes.
        alpn: protocols of which a client has to offer one, or None.

    Attributes:
        context: of the next handshakes; connections keep the one that they began with.
    """

    def __init__(self, context: object, alpn: tuple[str, ...] | None) -> None:
        self.alpn = alpn
        self.use(context)
        # A step of a handshake takes up to a millisecond. One after the other leaves the loop, in between, to others.
        self.turn = Semaphore()

    def use(self, context: object) -> None:
        """Take another context for the next handshakes.

        Raises:
            ConfigError: it is no context, or one for clients.
        """
        self.context = _checked(context)
        if self.alpn is not None:
            self.context.set_alpn_protocols(self.alpn)

    def connection(self, sock: socket.socket, sockaddr: SockAddr, clock: Clock, traffic: Traffic) -> TlsConnection:
        """Make the state of a connection that was just accepted."""
        return TlsConnection(sock, sockaddr, clock, traffic, self)


class TlsSocket(ssl.SSLSocket):  # type: ignore[misc]
    """The SSL socket that a handler gets; it counts bytes and shares the event loop, as `CountedSocket` does.

    A FIN without a close_notify is the end of the stream for it; the server counts the connection as truncated. To
    shut down the direction of writing, or both, and to close, sends the close_notify first.

    Attributes:
        account: the bytes that it has carried.
        layer: OpenSSL's connection, None when the peer was gone at once.
        ended: whether the end of the peer's stream has been read.
        truncated: whether that was a FIN without close_notify.
    """

    layer: Any = None

    def __init__(self, sock: socket.socket, context: stdlib_ssl.SSLContext) -> None:
        self.account = Account()
        self.ended = self.truncated = False
        super().__init__(
            sock=sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False, _context=context
        )
        self.layer = self._sslobj

    def read(self, nbytes: int = 1024, buffer: Any = None) -> Any:
        self._let_others_run()
        layer = self._sslobj
        if layer is None:
            raise ValueError("Read on closed or unwrapped SSL socket.")
        into = () if buffer is None else (buffer,)
        while nbytes and not self.ended:
            try:
                result = _read_now(self, layer, self._sock, nbytes, into)
            except (BlockingIOError, ssl.SSLWantReadError):
                event = self._read_event
            except ssl.SSLWantWriteError:
                event = self._write_event
            else:
                self.account.read(result if into else len(result))
                return result
            if self.timeout == 0:
                raise ssl.SSLWantReadError("there is nothing to read now")
            socket.wait(event, self.timeout, TimeoutError("The read operation timed out"))
        return 0 if into else b""

    def write(self, data: Any) -> int:
        self._let_others_run()
        return self.account.written(super().write(data))

    def send(self, data: Any, flags: int = 0, **options: float) -> int:
        self._let_others_run()
        return self.account.written(super().send(data, flags, **options))

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_RD:
            self.notify_close()
        self._sock.shutdown(how)  # gevent's own would read the rest without decrypting it

    def close(self) -> None:
        if not self.closed:
            self.notify_close()
            never_linger(self)
        super().close()

    def notify_close(self) -> bool:
        """Send the close_notify, unless that is done or impossible; False when there is no room for it now."""
        try:
            if self.layer is not None:
                self.layer.shutdown()
        except ssl.SSLWantWriteError:
            return False
        except OSError:
            pass  # the peer's own has not come, or data came instead; or the stream is broken
        return True

    def _let_others_run(self) -> None:
        if self.account.left <= 0 and self.timeout != 0:
            gevent.sleep(0)
            self.account.left = TURN


class TlsConnection(Connection):
    """The state of a TLS connection. `pending` and the counts are of bytes that are not encrypted."""

    # The layer, the plain socket and the read event are the socket's: there each look-up takes long.
    __slots__ = ("_layer", "_plain", "_read_event", "_secured", "_tls", "_wants_read")
    closed_alone = (Ending.RESET, Ending.VANISHED)

    def __init__(self, sock: socket.socket, sockaddr: SockAddr, clock: Clock, traffic: Traffic, tls: Tls) -> None:
        super().__init__(sock, sockaddr, clock, traffic)
        self._tls = tls
        self._secured = self._wants_read = False

    def begin(self) -> None:
        try:
            sock = self.sock = TlsSocket(self.sock, self._tls.context)
            self._shake_hands(sock)
        except Ended:
            if self.end_reason is not Ending.HANDSHAKE:
                raise
            raise HandshakeFailed(Failure.TIMEOUT) from None
        except OSError as error:
            raise HandshakeFailed(_failure(error)) from error
        self._layer, self._plain, self._read_event = sock.layer, sock._sock, sock._read_event
        self._secured = True
        self.last_byte_at = self.clock.now
        if self._tls.alpn is not None and sock.selected_alpn_protocol() is None:
            raise HandshakeFailed(Failure.ALPN)

    def _shake_hands(self, sock: TlsSocket) -> None:
        if sock.layer is None:
            raise OSError(errno.ENOTCONN, os.strerror(errno.ENOTCONN))
        event = sock._read_event
        while True:
            socket.wait(event)
            with self._tls.turn:
                try:
                    sock.layer.do_handshake()
                    return
                except ssl.SSLWantReadError:
                    event = sock._read_event
                except ssl.SSLWantWriteError:
                    event = sock._write_event
                finally:
                    gevent.sleep(0)

    def receive(self, size: int) -> bytes:
        if self._layer.pending():
            gevent.sleep(0)
        else:
            socket.wait(self._read_event)
        size = min(size, RECORD)
        try:
            data: bytes = _read_now(self.sock, self._layer, self._plain, size)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            data = self.sock.read(size)
        self.count_read(len(data))
        return data

    def send(self, data: memoryview) -> None:
        sent = 0
        self._wants_read = False
        try:
            sent = self._layer.write(data)
        except ssl.SSLWantWriteError:
            pass
        except ssl.SSLWantReadError:  # a renegotiation, which contexts of one's own may allow
            self._wants_read = True
        if sent:
            self.count_written(sent)
        self.pending = data[sent:] if sent < len(data) else None

    def flush(self) -> None:
        while self.pending is not None:
            socket.wait(self.sock._read_event if self._wants_read else self.sock._write_event)
            self.send(self.pending)

    def end_stream(self) -> None:
        if self._secured:
            while not self.sock.notify_close() and wait_ready(self.sock._write_event, LINGER_SECONDS):
                pass
        super().end_stream()

    def discard(self, size: int) -> bytes:
        """Read the bytes that come after our FIN, without decrypting or counting it: OpenSSL refuses to."""
        data: bytes = self.sock._sock.recv(size)
        self.discarded_at = self.clock.now
        return data

    def is_broken_by(self, error: BaseException) -> bool:
        return isinstance(error, ssl.SSLError) or super().is_broken_by(error)

    def count_destroyed(self, size: int) -> None:
        """Count bytes that the kernel will not deliver: as bytes on the wire, so that they are no more than those."""
        super().count_destroyed(min(size, self.written))

    @property
    def is_secured(self) -> bool:
        return self._secured

    @property
    def is_truncated(self) -> bool:
        return bool(self.sock.truncated)


def _read_now(sock: TlsSocket, layer: Any, plain: Any, size: int, into: tuple[Any, ...] = ()) -> Any:
    """Read once without waiting: bytes, or their number when there is a buffer to read into; note the stream's end."""
    result: Any = 0 if into else b""
    try:
        if layer.pending() or plain.recv(1, socket.MSG_PEEK):
            result = layer.read(size, *into)
        else:
            sock.truncated = True
    except ssl.SSLEOFError:  # in the middle of a record
        sock.truncated = True
    if not result:
        sock.ended = True
    return result


def _checked(context: object) -> stdlib_ssl.SSLContext:
    # A context that was made before monkey-patching is of the original class.
    if not isinstance(context, get_original("ssl", "SSLContext")):
        raise ConfigError(f"ssl_context is {context!r}; it must be an SSLContext")
    if context.protocol == stdlib_ssl.PROTOCOL_TLS_CLIENT or context.check_hostname:
        raise ConfigError("ssl_context is one for clients; make it with ssl.PROTOCOL_TLS_SERVER")
    return context  # type: ignore[no-any-return]


def _failure(error: OSError) -> HandshakeFailure:
    """Name the reason for which a handshake failed."""
    if isinstance(error, ssl.SSLEOFError | ssl.SSLSyscallError) or is_broken(error):
        return Failure.GONE
    reason = getattr(error, "reason", None) or ""
    for parts, failure in REASONS:
        if any(part in reason for part in parts):
            return failure
    return Failure.OTHER
