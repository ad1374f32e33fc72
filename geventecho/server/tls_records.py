"""The records of an accepted TLS connection: from the socket to OpenSSL, which works in memory, and back.

Read from the descriptor, OpenSSL would handle all that has come in one call, until it finds payload. A peer that sends
records without any, such as KeyUpdate messages (RFC 8446, 4.6.3), would hold the whole process. So OpenSSL gets one
record at a time, and the server counts those without payload.

No byte is read past the end of a record. So the kernel's queue is empty only when all that came has been decrypted, the
descriptor is readable as long as more is there, and a FIN that shows in the queue came without a close_notify before.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, Final

from geventecho.net import TlsOutbox

__all__ = ["TlsRecords"]

HEADER: Final = 5
LONGEST: Final = 16384 + 2048
"""Bytes of a record after its header, at most (RFC 5246, 6.2.3)."""
MOST_BLANK: Final = 32
"""Records without payload in a row that end a connection. OpenSSL and BoringSSL allow so many empty ones, and BoringSSL
so many KeyUpdate messages."""
MOST_ANSWERS: Final = 65536
"""Bytes that wait for a peer that takes none, as answers to its records and as a record that it is owed."""
KINDS: Final = range(20, 24)
"""change_cipher_spec, alert, handshake, application_data."""


class TlsRecords:
    """One connection's state. Nothing here waits: what would have to raises BlockingIOError.

    Args:
        plain: the non-blocking socket.
        wrap: makes OpenSSL's connection of what comes in and what goes out, two of `ssl.MemoryBIO`.

    Attributes:
        layer: OpenSSL's connection.
        outbox: the way out.
        send: the outbox's own.
        ended: whether the end of the peer's stream has been read.
        truncated: whether that was a FIN without close_notify.
        has_more: whether the record that was read last may have more payload.
        blank: how many records without payload came since the last one with payload.
    """

    __slots__ = (
        "_head", "_incoming", "_left", "_plain", "blank", "ended", "has_more", "layer", "outbox", "send", "truncated",
    )  # fmt: skip

    def __init__(self, plain: Any, wrap: Callable[[Any, Any], Any]) -> None:
        self._plain = plain
        self._incoming, made = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.layer = wrap(self._incoming, made)
        self.outbox = TlsOutbox(self.layer, made, plain)
        self.send = self.outbox.send
        self.ended = self.truncated = False
        self.has_more = False
        self.blank = 0
        self._head = b""  # the header of the record that is coming, as far as it came
        self._left = 0  # bytes that are still to come after it

    def take(self) -> None:
        """Give OpenSSL the bytes up to the end of a record; returns when it is whole, or is none.

        Raises:
            BlockingIOError: it is not whole, and nothing more is there.
            SSLEOFError: the peer's FIN came instead.
            OSError: the connection broke.
        """
        left = self._left
        while not left:
            data = self._receive(HEADER - len(self._head))
            head = self._head + data
            if len(head) < HEADER:
                self._head = head
                continue
            self._head = b""
            left = head[3] << 8 | head[4]
            if head[0] not in KINDS or head[1] != 3 or left > LONGEST:
                return  # no record, which OpenSSL then says: "GET /" would announce 8,239 bytes
        while left:
            self._left = left
            left -= len(self._receive(left))
        self._left = 0

    def _receive(self, size: int) -> bytes:
        data: bytes = self._plain.recv(size)
        if not data:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "FIN without close_notify")
        self._incoming.write(data)
        return data

    def read(self, size: int, into: tuple[Any, ...] = ()) -> Any:
        """Read once, of one record at most: bytes, or their number when there is a buffer to read into.

        At the end of the stream that is none, and `ended` says so.

        Raises:
            BlockingIOError: there is no payload now.
            OSError: the connection broke, or what came is not TLS.
        """
        if self.ended:
            return 0 if into else b""
        try:
            if not (self.has_more and self.layer.pending()):
                self.take()
            result = self.layer.read(size, *into)
        except ssl.SSLWantReadError:
            self.blank += 1
            self.outbox.flush()  # an answer of TLS itself, such as that to a new key
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
        self.blank = 0
        return result

    def recv_into(self, memory: memoryview) -> int:
        """Do what `read` does, as a socket has it."""
        size: int = self.read(len(memory), (memory,))
        return size

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
        """Whether the peer sends too much that has no payload, or does not take the answers to it."""
        return self.blank >= MOST_BLANK or self.outbox.size > MOST_ANSWERS

    def shut(self) -> bool:
        """Take the end of both directions one step further; returns whether it is over. The outbox is to be flushed.

        Raises:
            OSError: the connection broke, or the peer sends data yet.
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
        """Send the close_notify, unless that is done or impossible; False when there is no room for it now."""
        try:
            self.layer.shutdown()
        except OSError:
            pass  # the peer's own has not come, or data came instead; or the stream is broken
        return self.try_flush()

    def try_flush(self) -> bool:
        """Send the encrypted bytes, if the peer is there; False when there is no room for it now."""
        try:
            return self.outbox.flush()
        except OSError:
            return True  # the connection is broken, which reading will find
