"""The cooperative client, whose calls switch greenlets instead of blocking; `connect` makes it.

It works in plain and in monkey-patched processes alike, patches nothing itself, and speaks to any TCP or Unix server.
`echo` and `request` write and read at the same time, whatever the sizes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from types import EllipsisType
from typing import Final, NoReturn, Self

from geventecho import errors
from geventecho.address import Address, SockAddr
from geventecho.client.payload import Payload, as_bytes
from geventecho.client.reply import ReplyReader, with_sample
from geventecho.client.tls import DEFAULT_TLS, TlsInfo, TlsLike, check_tls
from geventecho.client.wire import RECEIVE_SIZE, Wire
from geventecho.framing import Exactly, Framing, Verdict, as_framing
from geventecho.net import abort

__all__ = ["SLOWEST_ECHO", "Client", "Seconds"]

Seconds = float | EllipsisType | None
"""The time limit of one call: seconds, None for no limit, ``...`` for the client's own limit, the default."""

NOTHING_SENT: Final = (errors.ConcurrentUse, errors.TornStream)
"""Errors that are raised before any byte of a message is sent."""
SLOWEST_ECHO: Final = 8 * 1024 * 1024
"""Bytes per second. The default time limit of an echo is longer by the time that its payload takes at this rate."""


class Client:
    """An open connection; `connect` makes it. A context manager that closes it.

    One greenlet may use it, or one greenlet may receive while another one sends. A second greenlet that receives, or
    that sends, gets `ConcurrentUse`, and the first one goes on. Any greenlet may close it: a greenlet that waits on it
    then gets `ClosedLocally`. Every network failure is a `NetworkError` with the target and the phase.

    A time limit, or an exception from another greenlet, may cut a message midway. The peer would take the next message
    for its rest: all later calls that send raise `TornStream`. Data from the peer can still be received.

    After an `echo` or `request` that failed, its reply may still come, and would be taken for the next reply. The next
    `echo` or `request` therefore raises `UnsolicitedData`; connect again.

    Args:
        wire: the connected socket.
        target: the address as given.
        peer: the address that the socket is connected to.

    Attributes:
        target: as given.
        closed: whether it is closed on this side.
        traffic: the bytes that it has carried and, with `timed`, the times of its last exchange.
    """

    __slots__ = ("_in_step", "_leftover", "_local", "_peer", "_wire", "closed", "target", "traffic")

    def __init__(self, wire: Wire, target: Address, peer: SockAddr) -> None:
        self.target = target
        self.closed = False
        self.traffic = wire.traffic
        self._wire = wire
        self._local: SockAddr = wire.sock.getsockname()
        self._peer = peer
        self._in_step = True
        self._leftover = b""

    def echo(self, payload: Payload, *, timeout: Seconds = ...) -> Payload:
        """Send `payload` and compare every byte that comes back; returns `payload`.

        Bytes after the echo are kept, and make the next `echo` or `request` fail.

        Args:
            payload: of any size; a large one is not copied.
            timeout: seconds for the whole exchange; the client's own limit is longer by a second per 8 MiB of payload.

        Raises:
            CorruptReply: a byte differs; `offset` says which.
            ShortReply: the peer closed before the whole payload came back.
            ReadTimeout, WriteTimeout: the payload did not come back in time, or the peer did not take it in time.
            PeerReset: the connection broke.
            UnsolicitedData, ClosedByPeer: bytes, or the peer's FIN, came before the payload was sent.
        """
        wire = self._wire
        data: bytes | memoryview
        if timeout is ... and type(payload) is bytes and len(payload) <= RECEIVE_SIZE:
            data, seconds = payload, wire.timeout  # the usual case, without the calls below
        else:
            data, seconds = as_bytes(payload), self._seconds(timeout)
            if len(data) <= RECEIVE_SIZE:
                data = bytes(data)
            elif timeout is ... and seconds is not None:
                seconds += len(data) / SLOWEST_ECHO
        if self._leftover or not self._in_step or wire.poll(0):
            self.check_idle()
        if data:
            self._in_step = False
            try:
                self._leftover = wire.echo(data, seconds)
            except NOTHING_SENT:
                self._in_step = True
                raise
            self._in_step = True
        return payload

    def request(
        self, payload: Payload, reply: Framing | Callable[[bytes], Verdict], *, timeout: Seconds = ...
    ) -> bytes:
        """Send `payload` and receive the reply to it; returns the reply.

        Bytes after the reply are kept for `receive` and `recv`, and make the next `echo` or `request` fail. The bytes
        of a reply that failed are kept too. With an empty payload it is `receive`.

        Args:
            payload: of any size; a large one is not copied.
            reply: the framing of the reply, see geventecho.framing.
            timeout: seconds for the whole exchange.

        Raises:
            ShortReply: the peer closed before the reply was complete.
            ReplyTooLong: the reply passes its framing's limit.
            ReplyError: the reply is malformed.
            ReadTimeout, WriteTimeout: the reply was not complete in time, or the peer did not take the payload in time.
            PeerReset: the connection broke.
            UnsolicitedData, ClosedByPeer: bytes, or the peer's FIN, came before the payload was sent.
        """
        data = as_bytes(payload)
        framing = as_framing(reply)
        if not data:
            return self.receive(framing, timeout=timeout)
        self.check_idle()
        if framing.size == 0:
            self._wire.write(data, self._seconds(timeout))
            if self.traffic.is_timed:
                self.traffic.end()
            return b""
        reader = ReplyReader(framing, self.target)
        self._in_step = False
        try:
            self._wire.exchange(data, reader, self._seconds(timeout), framing.quiet)
        except NOTHING_SENT:
            self._in_step = True
            raise
        except BaseException:
            self._leftover = reader.data
            raise
        self._in_step = True
        self._leftover = reader.rest
        return reader.data

    def send(self, data: Payload, *, timeout: Seconds = ...) -> None:
        """Send all of `data`.

        Raises:
            WriteTimeout: the peer did not take the data in time; `bytes_sent` counts the bytes that the kernel took.
            PeerReset: the connection broke.
        """
        self._wire.write(as_bytes(data), self._seconds(timeout))

    def recv(self, max_bytes: int = RECEIVE_SIZE, *, timeout: Seconds = ...) -> bytes:
        """Wait for the first byte, and receive at most `max_bytes` that have come; b"" once the peer has closed.

        Raises:
            ReadTimeout: no byte came in time.
            PeerReset: the connection broke.
        """
        if max_bytes < 1:
            raise errors.ConfigError(f"max_bytes is {max_bytes!r}; it must be 1 or more")
        if self._leftover:
            data, self._leftover = self._leftover[:max_bytes], self._leftover[max_bytes:]
            return data
        data = self._wire.read(max_bytes, self._seconds(timeout))
        if len(data) > max_bytes:
            data, self._leftover = data[:max_bytes], data[max_bytes:]
        return data

    def recv_exactly(self, count: int, *, timeout: Seconds = ...) -> bytes:
        """Receive `count` bytes. A call that fails loses no bytes: the next call gets them.

        Raises:
            ShortReply: the peer closed before `count` bytes came.
            ReadTimeout: they did not come in time.
            PeerReset: the connection broke.
        """
        return self.receive(Exactly(count), timeout=timeout)

    def receive(self, reply: Framing | Callable[[bytes], Verdict], *, timeout: Seconds = ...) -> bytes:
        """Receive one reply without a request: a greeting, a push, the next reply of a pipeline.

        Args:
            reply: the framing of the reply, see geventecho.framing.
            timeout: seconds for the whole reply.

        Raises:
            ShortReply, ReplyTooLong, ReadTimeout, PeerReset: as for `request`. The next call gets the bytes that came.
        """
        framing = as_framing(reply)
        reader = ReplyReader(framing, self.target)
        leftover, self._leftover = self._leftover, b""
        # The leftover bytes came in the piece that was read last.
        self.traffic.first_at = self.traffic.arrived_at if leftover else 0
        try:
            if leftover and not reader.complete:
                reader.feed(leftover)
            if not reader.complete:
                self._wire.exchange(b"", reader, self._seconds(timeout), framing.quiet)
        except BaseException:
            self._leftover = reader.data
            raise
        self._leftover = reader.rest
        return reader.data

    def __iter__(self) -> Iterator[bytes]:
        """Yield the chunks as they come, until the peer closes. The client's time limit holds for each chunk."""
        while chunk := self.recv():
            yield chunk

    def check_idle(self) -> None:
        """Refuse a request while bytes can be read, or an earlier reply may come: they would be taken for the reply.

        Raises:
            UnsolicitedData, ClosedByPeer, ConcurrentUse: as for `request`; UnreadGreeting if no byte has been sent.
        """
        self._wire.check_no_reader()
        if not self._leftover:
            if self._in_step and not self._wire.poll(0):
                return
            try:
                data = self._wire.read_now(RECEIVE_SIZE)
            except errors.Truncated:  # no reply is cut short: none is expected
                data = b""
            if data == b"":
                reason = "the peer had closed the connection before the request"
                raise errors.ClosedByPeer(reason, address=self.target, phase="read")
            self._leftover = data or b""
        if self._leftover and not self.bytes_sent:
            count = len(self._leftover)
            raise with_sample(errors.UnreadGreeting(address=self.target, count=count), self._leftover)
        if self._leftover:
            reason = f"{len(self._leftover)} unrequested bytes came"
        elif self._in_step:
            return
        else:
            reason = "an earlier exchange failed midway and its reply may still come; connect again"
        raise with_sample(errors.UnsolicitedData(reason, address=self.target, phase="read"), self._leftover)

    def expect_silence(self, seconds: float) -> None:
        """Check for `seconds` that the server does not speak first.

        Raises:
            UnsolicitedData, ClosedByPeer, ConcurrentUse: as for `check_idle`.
        """
        try:
            came = self.recv(timeout=seconds)
        except errors.ReadTimeout:
            return
        self._leftover = came + self._leftover
        self.check_idle()

    def _seconds(self, timeout: Seconds) -> float | None:
        if isinstance(timeout, EllipsisType):
            return self._wire.timeout
        if timeout is not None and not (isinstance(timeout, int | float) and timeout >= 0):
            raise errors.ConfigError(f"timeout is {timeout!r}; it must be a number of seconds of 0 or more, or None")
        return timeout

    def start_tls(self, tls: TlsLike = DEFAULT_TLS, *, timeout: Seconds = ...) -> None:
        """Shake hands and encrypt from now on, such as after STARTTLS. A failed handshake closes the connection.

        Args:
            tls: see `connect`. The server name is by default the target's host.
            timeout: seconds for the whole handshake.

        Raises:
            PlainBeforeTls: there are unread bytes; the connection does not change.
            ClosedByPeer, UnsolicitedData: as for `request`.
            TlsError: or a subclass; the handshake failed.
            ConfigError: `tls` cannot be used, or this connection uses TLS already.
        """
        if self._wire.tls is not None:
            raise errors.ConfigError(f"{self.target}: this connection uses TLS already")
        check_tls(tls, self.target)
        if self.target.scheme != "tls":  # else the handshake finds that they are not TLS
            self._refuse_plain_bytes()
        try:
            self._leftover = self._wire.start_tls(tls, self._seconds(timeout))
        except NOTHING_SENT:
            raise
        except BaseException:
            self.close()
            raise

    def _refuse_plain_bytes(self) -> None:
        try:
            self.check_idle()
        except errors.UnsolicitedData:
            if not self._leftover:
                raise
            count = len(self._leftover)
            reason = f"{count} plain bytes came before the handshake; read them, or do not trust this connection"
            raise errors.PlainBeforeTls(reason, address=self.target, phase="tls") from None

    @property
    def tls(self) -> TlsInfo | None:
        """Version, cipher and protocol that the TLS handshake agreed on; None without TLS."""
        return None if self._wire.tls is None else self._wire.tls.info

    def end(self) -> None:
        """Half-close: send FIN, and go on receiving. Does nothing the second time.

        With TLS it sends close_notify before the FIN. Many servers then close at once.
        """
        if not self.closed:
            self._wire.stop_writing(partial(_refuse, "nothing can be sent after end()", self.target, "write"))

    def close(self) -> None:
        """Close; a greenlet that waits on this connection gets `ClosedLocally`. Does nothing the second time.

        With TLS it sends close_notify if the kernel takes it, and does not wait for the peer's close_notify.
        """
        self._wire.close_tls()
        self._stop()
        self._wire.sock.close()

    def abort(self) -> None:
        """Close with RST: the kernel drops unsent bytes, and the peer's reads and writes fail."""
        self._stop()
        abort(self._wire.sock)

    def _stop(self) -> None:
        self.closed = True
        self._wire.stop(partial(_refuse, "the connection is closed on this side", self.target))

    @property
    def bytes_sent(self) -> int:
        """Bytes that the kernel took from us. With TLS, the bytes of our messages before encryption."""
        return self.traffic.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes that the kernel gave us. With TLS, the bytes of the peer's messages after decryption."""
        return self.traffic.bytes_received

    @property
    def local_address(self) -> Address:
        """The address of this end."""
        return Address.from_sockaddr(self._local)

    @property
    def peer_address(self) -> Address:
        """The address of the other end."""
        return Address.from_sockaddr(self._peer)

    def fileno(self) -> int:
        """The descriptor; -1 once closed."""
        return -1 if self.closed else int(self._wire.sock.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        carried = f"{self.bytes_sent} bytes sent, {self.bytes_received} received"
        return f"<{type(self).__name__} {self.target} {state}, {carried}>"


def _refuse(reason: str, target: Address, phase: str, *_: object) -> NoReturn:
    raise errors.ClosedLocally(reason, address=target, phase=phase)
