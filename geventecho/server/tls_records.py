"""The records of an accepted TLS connection: from the socket to OpenSSL, which works in memory, and back.

If OpenSSL read from the descriptor, one call would process records until it finds payload. A peer that sends records
without payload, such as KeyUpdate messages (RFC 8446, 4.6.3), would block the whole process. So OpenSSL gets one record
at a time, and the server counts records without payload.

A greenlet receives no byte past the end of a record. So the descriptor is readable as long as bytes are there that are
not decrypted. The hub receives as many bytes as the last record had. Most records are as long as the one before: header
and payload then take one recv(2) instead of two, a tenth of the CPU time of a message (1 KiB). A shorter record is
received with a part of the next ones. The kernel does not report complete records among these; `announce` does.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Final

from geventecho.net import TlsOutbox

__all__ = ["TlsRecords"]

HEADER_SIZE: Final = 5
MAX_SIZE: Final = HEADER_SIZE + 16384 + 2048
"""Bytes of a record, at most (RFC 5246, 6.2.3)."""
MAX_WITHOUT_PAYLOAD: Final = 32
"""Records without payload in a row that end a connection. OpenSSL and BoringSSL allow as many empty records, and
BoringSSL as many KeyUpdate messages."""
MAX_WAITING: Final = 65536
"""Encrypted bytes that may wait for a peer that takes none: answers to its records, and a record that it is owed."""
KINDS: Final = range(20, 24)
"""change_cipher_spec, alert, handshake, application_data."""


class TlsRecords:
    """The records of one connection. No method waits: it raises BlockingIOError instead.

    Args:
        plain: the non-blocking socket.
        event: the watcher of its readability.
        wrap: makes OpenSSL's connection of an incoming and an outgoing `ssl.MemoryBIO`.

    Attributes:
        layer: OpenSSL's connection.
        outbox: sends the encrypted bytes.
        send: the outbox's `send`.
        ended: whether the end of the peer's stream has been read.
        truncated: whether the stream ended by a FIN without close_notify.
        has_more: whether the record that was read last may have more payload.
        without_payload: how many records without payload came since the last record with payload.
    """

    __slots__ = (
        "_event", "_incoming", "_last_size", "_next_turn", "_plain", "_received", "ended", "has_more", "layer",
        "outbox", "send", "truncated", "without_payload",
    )  # fmt: skip

    def __init__(self, plain: Any, event: Any, wrap: Callable[[Any, Any], Any]) -> None:
        self._plain, self._event = plain, event
        # Not run_callback(): the loop runs callbacks for 5 ms before it asks the kernel for other connections' events.
        self._next_turn = event.loop.timer(0)
        self._incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.layer = wrap(self._incoming, outgoing)
        self.outbox = TlsOutbox(self.layer, outgoing, plain)
        self.send = self.outbox.send
        self.ended = self.truncated = False
        self.has_more = False
        self.without_payload = 0
        self._received = b""  # bytes that OpenSSL has not got yet; a record begins with them
        self._last_size = HEADER_SIZE  # of the record that OpenSSL got last, with its header

    def take(self, size: int = HEADER_SIZE) -> None:
        """Give OpenSSL the bytes up to the end of a record; returns when the record is complete or invalid.

        Args:
            size: bytes to receive at once until the record's header has come; they may be more than the record has.

        Raises:
            BlockingIOError: the record is not complete, and no more bytes are there.
            SSLEOFError: the peer's FIN came instead.
            OSError: the connection broke.
        """
        received = self._received
        while len(received) < HEADER_SIZE or len(received) < (size := _record_size(received)):
            more = self._plain.recv(size - len(received))
            if not more:
                raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "FIN without close_notify")
            self._received = received = received + more
        self._incoming.write(received[:size])
        self._received = received[size:]
        self._last_size = size

    def read(self, size: int, into: tuple[Any, ...] = (), to_receive: int = HEADER_SIZE) -> Any:
        """Read payload of one record at most; returns the bytes, or their number if there is a buffer to read into.

        At the end of the stream it returns none, and `ended` is set.

        Args:
            size: bytes of payload, at most.
            into: the buffer, or nothing.
            to_receive: bytes to receive at once, as in `take`.

        Raises:
            BlockingIOError: there is no payload now.
            OSError: the connection broke, or the bytes are not TLS.
        """
        if self.ended:
            return 0 if into else b""
        try:
            if not (self.has_more and self.layer.pending()):
                self.take(to_receive)
            result = self.layer.read(size, *into)
        except ssl.SSLWantReadError:
            self.without_payload += 1
            self.outbox.flush()  # an answer of TLS itself, such as one to KeyUpdate
            raise BlockingIOError from None
        except ssl.SSLEOFError:
            self.ended = self.truncated = True
            return 0 if into else b""
        except ssl.SSLZeroReturnError:  # OpenSSL's name for the peer's close_notify after our own
            self.ended = True
            return 0 if into else b""
        except ssl.SSLError:
            self.try_flush()
            raise
        if not result:
            self.ended = True
        self.has_more = (result if into else len(result)) == size
        self.without_payload = 0
        return result

    def recv_into(self, memory: memoryview) -> int:
        """Read as `read` does, for a callback of the read event: it may receive a part of the next record."""
        if self._received and self._next_turn.active:
            raise BlockingIOError  # the kernel has more bytes, too; this connection has had its turn
        try:
            size: int = self.read(len(memory), (memory,), self._last_size)
        finally:
            if self._received:
                self.announce()
        return size

    def announce(self) -> None:
        """Call the read event's callback in the loop's next turn, if a complete record has been received."""
        received = self._received
        if len(received) >= HEADER_SIZE and len(received) >= _record_size(received):
            self._next_turn.start(self._call_again)

    def _call_again(self) -> None:
        callback = self._event.callback  # None if the event has been stopped since
        if callback is not None:
            callback(*self._event.args)

    def shake_hands(self) -> bool:
        """Take the handshake one step further; returns whether it is done.

        Raises:
            OSError: the connection broke, or the handshake failed.
        """
        try:
            self.layer.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            self.try_flush()
            raise
        return True

    @property
    def is_flood(self) -> bool:
        """Whether the peer sends too many records without payload, or does not take the answers to them."""
        return self.without_payload >= MAX_WITHOUT_PAYLOAD or self.outbox.size > MAX_WAITING

    def shut(self) -> bool:
        """Take the shutdown of both directions one step further; returns whether it is done. Then flush the outbox.

        Raises:
            OSError: the connection broke, or the peer still sends data.
        """
        while True:
            try:
                self.layer.shutdown()
                return True
            except ssl.SSLWantReadError:
                try:
                    self.take()
                except BlockingIOError:
                    return False
                except ssl.SSLEOFError:
                    return True

    def notify_close(self) -> bool:
        """Send the close_notify, unless it is sent or impossible; False if the kernel has no room for it now."""
        try:
            self.layer.shutdown()
        except OSError:
            pass  # the peer's close_notify has not come, or data came instead, or the stream is broken
        return self.try_flush()

    def try_flush(self) -> bool:
        """Send the encrypted bytes, unless the connection is broken; False if the kernel has no room for them now."""
        try:
            return self.outbox.flush()
        except OSError:
            return True  # the next read finds that the connection is broken


def _record_size(received: bytes) -> int:
    """Return the size of the record that begins with these bytes, with its header; of all bytes if it is invalid.

    OpenSSL then reports that it is none: "GET /" would announce 8,239 bytes.
    """
    size = HEADER_SIZE + (received[3] << 8 | received[4])
    return size if received[0] in KINDS and received[1] == 3 and size <= MAX_SIZE else len(received)
