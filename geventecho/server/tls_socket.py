"""The SSL socket that a handler gets. Its records go through memory: see `tls_records`."""

from __future__ import annotations

import ssl as stdlib_ssl
from typing import Any

import gevent
from gevent import socket, ssl

from geventecho.net import never_linger
from geventecho.server.counted_socket import TURN, Account
from geventecho.server.tls_records import TlsRecords

__all__ = ["TlsSocket"]


class TlsSocket(ssl.SSLSocket):  # type: ignore[misc]
    """An SSL socket that counts bytes and shares the event loop, as `CountedSocket` does.

    A FIN without a close_notify ends the stream; the server counts the connection as truncated. `close`, and `shutdown`
    of the direction of writing or of both, send the close_notify first.

    Attributes:
        account: the bytes that it has carried.
        records: the records of its connection; None if the peer was gone at once.
    """

    records: TlsRecords | None = None
    _sslobj: Any

    def __init__(self, sock: socket.socket, context: Any) -> None:
        self.account = Account()
        super().__init__(
            sock=sock, server_side=True, do_handshake_on_connect=False, suppress_ragged_eofs=False, _context=context
        )
        if self._sslobj is not None:
            self.records = TlsRecords(self._sock, self._read_event, self._wrap)
            self._sslobj = self.records.layer

    def _wrap(self, incoming: stdlib_ssl.MemoryBIO, outgoing: stdlib_ssl.MemoryBIO) -> Any:
        # Not wrap_bio(): callbacks of the context, such as the SNI callback, get this socket, as with wrap_socket().
        return self._context._wrap_bio(incoming, outgoing, server_side=True, owner=self._sock)

    def read(self, nbytes: int = 1024, buffer: Any = None) -> Any:
        self._let_others_run()
        records = self._secured()
        into = () if buffer is None else (buffer,)
        while nbytes:
            try:
                result = records.read(nbytes, into)
            except BlockingIOError:
                if self.account.connection is not None:
                    self.account.connection.check_flood()
                if self.timeout == 0:
                    raise ssl.SSLWantReadError("there is nothing to read now") from None
                socket.wait(self._read_event, self.timeout, TimeoutError("The read operation timed out"))
            else:
                self.account.read(result if into else len(result))
                return result
        return 0 if into else b""

    def write(self, data: Any) -> int:
        self._secured()
        sent = self.send(data)
        if data and not sent:
            raise ssl.SSLWantWriteError("there is no room now")
        return sent

    def send(self, data: Any, flags: int = 0, **options: Any) -> int:
        self._let_others_run()
        if self._sslobj is None or flags:
            return self.account.written(super().send(data, flags, **options))
        outbox = self._secured().outbox
        if self._write_event is not None and self._write_event.callback is not None:
            socket.wait(self._write_event)  # raises gevent's own error: another greenlet's record has to be sent first
        if type(data) is not bytes:
            data = memoryview(data).cast("B")
        timeout = options.get("timeout", self.timeout)
        while True:
            try:
                return self.account.written(outbox.send(data))
            except BlockingIOError:
                if timeout == 0:
                    return 0
                try:
                    socket.wait(self._write_event, timeout, TimeoutError("The write operation timed out"))
                except BaseException:
                    self.account.written(outbox.give_up())
                    raise

    def unwrap(self) -> TlsSocket:
        records = self._secured()
        is_over = False
        while not is_over:
            is_over = records.shut()
            if not records.outbox.flush():
                is_over, event, wanted = False, self._write_event, ssl.SSLWantWriteError
            else:
                event, wanted = self._read_event, ssl.SSLWantReadError
            if not is_over:
                if self.timeout == 0:
                    raise wanted("the peer's close_notify has not come")
                socket.wait(event, self.timeout, TimeoutError("The operation timed out"))
        self._sslobj = None
        return self

    def shutdown(self, how: int) -> None:
        if how != socket.SHUT_RD:
            self.notify_close()
        self._sock.shutdown(how)  # gevent's shutdown() would read the rest without decrypting it

    def close(self) -> None:
        if not self.closed:
            self.notify_close()
            never_linger(self)
        super().close()

    def notify_close(self) -> bool:
        """Send the close_notify, unless it is sent or impossible; False if the kernel has no room for it now."""
        return self._sslobj is None or self._secured().notify_close()

    def _secured(self) -> TlsRecords:
        if self._sslobj is None or self.records is None:
            raise ValueError(f"There is no TLS on {self} any more")
        return self.records

    def _let_others_run(self) -> None:
        if self.account.left <= 0 and self.timeout != 0:
            gevent.sleep(0)
            self.account.left = TURN
