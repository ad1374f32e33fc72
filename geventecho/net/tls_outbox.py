"""The encrypted bytes of a connection that the kernel has not taken yet.

OpenSSL encrypts into memory (`ssl.MemoryBIO`). This module hands the records to the socket, complete and in order. It
does not import `ssl`: a program without TLS does not load it.
"""

from __future__ import annotations

import errno
from typing import Any, Final

__all__ = ["TLS_RECORD", "TlsOutbox"]

TLS_RECORD: Final = 16384
"""Bytes of payload that a record has at most (RFC 8446, 5.1). One call of OpenSSL reads or writes no more."""


class TlsOutbox:
    """The outgoing records of one TLS connection. No method waits.

    Args:
        layer: OpenSSL's connection: an `ssl.SSLObject`, or the `_ssl` object inside.
        outgoing: the `ssl.MemoryBIO` that `layer` writes records to.
        plain: the non-blocking socket.

    Attributes:
        is_midway: whether a part of a message is encrypted and not sent yet: then no other message may follow.
    """

    __slots__ = ("_encrypted", "_layer", "_outgoing", "_plain", "_unsent")

    def __init__(self, layer: Any, outgoing: Any, plain: Any) -> None:
        self._layer, self._outgoing, self._plain = layer, outgoing, plain
        self._unsent = b""
        self._encrypted = 0  # bytes of a message that are in `_unsent`

    @property
    def is_midway(self) -> bool:
        return self._encrypted > 0

    @property
    def size(self) -> int:
        """Encrypted bytes that wait for the kernel."""
        return len(self._unsent) + int(self._outgoing.pending)

    def send(self, data: bytes | memoryview) -> int:
        """Encrypt and send the beginning of `data`; returns the number of its bytes that are sent.

        After BlockingIOError call it again with the same bytes: they may be encrypted already.

        Raises:
            BlockingIOError: the kernel has no room.
            OSError: the connection broke. OpenSSL's own errors, such as SSLWantReadError, are of this class, too.
        """
        if not data:
            return 0
        if not self._encrypted:
            if self._unsent:
                self._send_rest()
            self._encrypted = self._layer.write(data if len(data) <= TLS_RECORD else data[:TLS_RECORD])
        self._send_rest()
        sent, self._encrypted = self._encrypted, 0
        return sent

    def give_up(self) -> int:
        """Give up the rest of a message. Its encrypted part stays in the stream, before the next message.

        Returns:
            The size of that part, in bytes.
        """
        size, self._encrypted = self._encrypted, 0
        return size

    def flush(self) -> bool:
        """Send the encrypted bytes; returns whether the kernel took all of them.

        Raises:
            OSError: the connection broke.
        """
        try:
            self._send_rest()
        except BlockingIOError:
            return False
        return True

    def _send_rest(self) -> None:
        records = self._outgoing.read()
        rest = self._unsent + records if self._unsent else records
        if not rest:
            return
        self._unsent = b""
        try:
            sent = self._plain.send(rest)
        except BlockingIOError:
            sent = 0
        if sent < len(rest):
            self._unsent = rest[sent:]
            raise BlockingIOError(errno.EAGAIN, "the kernel has no room")
