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
"""The time limit of one call: seconds, None for no limit; ``...``, or nothing, for the client's own."""

NOTHING_SENT: Final = (errors.ConcurrentUse, errors.TornStream)
"""Errors that come before any byte of a message has been sent."""
SLOWEST_ECHO: Final = 8 * 1024 * 1024
"""Bytes per second: an echo's default time limit is longer by the time of its payload at this rate."""


class Client:
    """An open connection; `connect` makes it. A context manager that closes it.

    One greenlet uses it, or one that only receives and one that only sends; another one that reads or sends meanwhile
    gets `ConcurrentUse`, and the first goes on. Any greenlet may close it: a greenlet that waits on it then gets
    `ClosedLocally`. Every network failure is a `NetworkError` with the target and the phase.

    A message may be cut midway, by its time limit or by an exception from another greenlet. The peer would take the
    next one for its rest: all later calls that send raise `TornStream`. What the peer sends can still be received.

    After an `echo` or `request` that failed, the connection is out of step: its reply may still come, and would be
    taken for the next one. The next `echo` or `request` says so (`UnsolicitedData`) instead; connect anew.

    Args:
        wire: the connected socket.
        target: the address it was told to connect to.
        peer: the address that it reached.

    Attributes:
        target: as given.
        closed: whether it was closed on this side.
        traffic: the bytes it has carried and, with `timed`, the times of its last exchange.
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

        What comes after it is kept, and makes the next `echo` or `request` fail.

        Args:
            payload: of any size; a large one is not copied.
            timeout: seconds for the whole exchange; the client's own is longer by a second per 8 MiB of payload.

        Raises:
            CorruptReply: a byte differs; `offset` says which.
            ShortReply: the peer closed before all of it came back.
            ReadTimeout, WriteTimeout: it did not come back in time, or the peer did not take it.
            PeerReset: the connection broke.
            UnsolicitedData, ClosedByPeer: before anything was sent there was already something to read, or the end.
        """
        wire = self._wire
        data: bytes | memoryview
        if timeout is ... and type(payload) is bytes and len(payload) <= RECEIVE_SIZE:
            data, seconds = payload, wire.timeout  # what the rest comes to, for most
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

        What comes after the reply is kept for `receive` and `recv`, and makes the next `echo` or `request` fail; so is
        what had come of a reply that failed. An empty payload asks nothing: it is `receive`.

        Args:
            payload: of any size; a large one is not copied.
            reply: where the reply ends, see geventecho.framing.
            timeout: seconds for the whole exchange.

        Raises:
            ShortReply: the peer closed before the reply was complete.
            ReplyTooLong: the reply passes its framing's limit.
            ReplyError: the reply is malformed.
            ReadTimeout, WriteTimeout: it was not complete in time, or the peer did not take the payload.
            PeerReset: the connection broke.
            UnsolicitedData, ClosedByPeer: before anything was sent there was already something to read, or the end.
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
            WriteTimeout: the peer did not take it in time; `bytes_sent` tells how much it took.
            PeerReset: the connection broke.
        """
        self._wire.write(as_bytes(data), self._seconds(timeout))

    def recv(self, max_bytes: int = RECEIVE_SIZE, *, timeout: Seconds = ...) -> bytes:
        """Receive what there is, at most `max_bytes`, waiting for the first byte; b"" once the peer has closed.

        Raises:
            ReadTimeout: nothing came in time.
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
        """Receive `count` bytes; of a call that fails nothing is lost, the next one gets what had come.

        Raises:
            ShortReply: the peer closed before.
            ReadTimeout: they did not come in time.
            PeerReset: the connection broke.
        """
        return self.receive(Exactly(count), timeout=timeout)

    def receive(self, reply: Framing | Callable[[bytes], Verdict], *, timeout: Seconds = ...) -> bytes:
        """Receive one reply without asking: a greeting, a push, the next answer of a pipeline.

        Args:
            reply: where it ends, see geventecho.framing.
            timeout: seconds for the whole of it.

        Raises:
            ShortReply, ReplyTooLong, ReadTimeout, PeerReset: as for `request`. What had come stays for the next call.
        """
        framing = as_framing(reply)
        reader = ReplyReader(framing, self.target)
        leftover, self._leftover = self._leftover, b""
        # The left-over bytes came in the piece that was read last.
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
        """The chunks as they come, until the peer closes; each within the client's time limit."""
        while chunk := self.recv():
            yield chunk

    def check_idle(self) -> None:
        """Refuse to ask while something waits to be read, or may come: it would be taken for the reply.

        Raises:
            UnsolicitedData, ClosedByPeer, ConcurrentUse: as for `request`; UnsolicitedData as UnreadGreeting where
                nothing was sent yet.
        """
        self._wire.check_no_reader()
        if not self._leftover:
            if self._in_step and not self._wire.poll(0):
                return
            try:
                data = self._wire.read_now(RECEIVE_SIZE)
            except errors.Truncated:  # which costs nothing here
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
            reason = "an earlier exchange failed midway and its reply may still come; connect anew"
        raise with_sample(errors.UnsolicitedData(reason, address=self.target, phase="read"), self._leftover)

    def expect_silence(self, seconds: float) -> None:
        """Check for a number of seconds that the server does not speak first.

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
        """Shake hands and encrypt from now on: STARTTLS, once the server has agreed to it. A failure closes.

        Args:
            tls: see `connect`. Its server name is that of the target where it has none.
            timeout: seconds for the whole handshake.

        Raises:
            PlainBeforeTls: there are unread bytes; the connection does not change.
            ClosedByPeer, UnsolicitedData: as for `request`.
            TlsError: in its kinds.
            ConfigError: `tls` cannot be used, or this connection uses TLS already.
        """
        if self._wire.tls is not None:
            raise errors.ConfigError(f"{self.target}: this connection uses TLS already")
        check_tls(tls, self.target)
        if self.target.scheme != "tls":  # else the handshake says that they are not TLS
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
            reason = f"{len(self._leftover)} plain bytes came before the handshake; read them, or trust nothing here"
            raise errors.PlainBeforeTls(reason, address=self.target, phase="tls") from None

    @property
    def tls(self) -> TlsInfo | None:
        """Version, cipher and protocol that the TLS handshake agreed on; None without TLS."""
        return None if self._wire.tls is None else self._wire.tls.info

    def end(self) -> None:
        """Send FIN: the peer sees the end of what we send, and we go on receiving. Does nothing the second time.

        With TLS it sends close_notify before the FIN. Many servers then close at once.
        """
        if not self.closed:
            self._wire.stop_writing(partial(_refuse, "nothing can be sent after end()", self.target, "write"))

    def close(self) -> None:
        """Close; a greenlet that waits on this connection gets `ClosedLocally`. Does nothing the second time.

        With TLS it sends close_notify if there is room for it, and does not wait for the peer's.
        """
        self._wire.close_tls()
        self._stop()
        self._wire.sock.close()

    def abort(self) -> None:
        """Close with RST: the peer sees the connection break, and unsent bytes are dropped."""
        self._stop()
        abort(self._wire.sock)

    def _stop(self) -> None:
        self.closed = True
        self._wire.stop(partial(_refuse, "the connection is closed on this side", self.target))

    @property
    def bytes_sent(self) -> int:
        """Bytes the kernel took from us; through TLS those of our messages alone."""
        return self.traffic.bytes_sent

    @property
    def bytes_received(self) -> int:
        """Bytes the kernel gave us; through TLS those of the peer's messages alone."""
        return self.traffic.bytes_received

    @property
    def local_address(self) -> Address:
        """This end."""
        return Address.from_sockaddr(self._local)

    @property
    def peer_address(self) -> Address:
        """The other end."""
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
