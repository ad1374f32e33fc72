"""The cooperative client: connect() -> Client, whose calls switch greenlets instead of blocking.

It works in plain and in monkey-patched processes alike, patches nothing itself, and speaks to any TCP or Unix server.
`echo` and `request` write and read at the same time, whatever the sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from types import EllipsisType
from typing import Final

from geventecho import errors
from geventecho.address import DEFAULT_TARGET, Address, AddressLike, SockAddr
from geventecho.client.config import ClientConfig
from geventecho.client.dial import check_target, dial
from geventecho.client.duplex import Duplex
from geventecho.client.reply import ReplyReader
from geventecho.client.stream import RECEIVE_SIZE, Payload, Seconds, Stream, as_bytes
from geventecho.framing import Framing, Verdict, as_framing

__all__ = ["Client", "Payload", "Seconds", "connect"]

SLOWEST_ECHO: Final = 8 * 1024 * 1024
"""Bytes per second: an echo's default time limit is longer by what its payload takes at this rate."""


def connect(
    target: AddressLike = DEFAULT_TARGET,
    *,
    timeout: float | None = 5.0,
    connect_timeout: Seconds = ...,
    source: AddressLike | None = None,
    nodelay: bool = True,
    receive_size: int = RECEIVE_SIZE,
) -> Client:
    """Connect to a server.

    Args:
        target: "host:port", "tcp://host:port", "unix:/path" or "unix:@name", an `Address`, or a (host, port) pair.
        timeout: seconds that connecting (the name and all addresses together) may take, and each later call that does
            not say otherwise; None is no limit.
        connect_timeout: seconds that connecting may take, where that differs.
        source: local IP address and port (0 for any) to connect from.
        nodelay: send small messages at once (TCP_NODELAY, tcp(7)).
        receive_size: bytes to ask the kernel for at once.

    Raises:
        AddressError: `target` or `source` cannot be parsed.
        ConfigError: an option is out of range, or the target is one a client cannot connect to.
        ConnectError: in its kinds: ResolveError, ConnectRefused, ConnectTimeout, ConnectUnreachable, OutOfResources.
    """
    address = Address.of(target)
    local = None if source is None else Address.of(source)
    config = ClientConfig(timeout if isinstance(connect_timeout, EllipsisType) else connect_timeout, timeout)
    if isinstance(receive_size, bool) or not isinstance(receive_size, int) or receive_size < 1:
        raise errors.ConfigError(f"receive_size is {receive_size!r}; it must be a whole number of bytes of 1 or more")
    check_target(address, local)
    sock, peer = dial(address, config.connect_timeout, source=local, nodelay=nodelay)
    return Client(Duplex(sock, address, timeout, receive_size), address, peer)


class Client(Stream):
    """A connection that asks and gets answers; `connect` makes it.

    After an `echo` or `request` that failed, the connection is out of step: its reply may still come, and would be
    taken for the next one. The next `echo` or `request` says so (`UnsolicitedData`) instead; connect anew.
    """

    __slots__ = ("_in_step",)

    def __init__(self, wire: Duplex, target: Address, peer: SockAddr) -> None:
        super().__init__(wire, target, peer)
        self._in_step = True

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
        if timeout is ... and type(payload) is bytes and len(payload) <= wire.receive_size:
            data, seconds = payload, wire.timeout  # what the rest comes to, for most
        else:
            data, seconds = as_bytes(payload), self._seconds(timeout)
            if len(data) <= wire.receive_size:
                data = bytes(data)
            elif timeout is ... and seconds is not None:
                seconds += len(data) / SLOWEST_ECHO
        if self._leftover or not self._in_step or wire.poll(0):
            self._check_idle()
        if data:
            self._in_step = False
            self._leftover = wire.echo(data, seconds)
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
        self._check_idle()
        if framing.size == 0:
            self._wire.write(data, self._seconds(timeout))
            return b""
        reader = ReplyReader(framing, self.target)
        self._in_step = False
        try:
            self._wire.exchange(data, reader, self._seconds(timeout), framing.quiet)
        except BaseException:
            self._leftover = reader.data
            raise
        self._in_step = True
        self._leftover = reader.rest
        return reader.data

    def _check_idle(self) -> None:
        """Refuse to ask while something waits to be read, or may come: it would be taken for the reply."""
        if not self._leftover:
            if self._in_step and self._wire.is_idle():
                return
            data = self._wire.read_now(self._wire.receive_size)
            if data == b"":
                reason = "the peer had closed the connection before the request"
                raise errors.ClosedByPeer(reason, address=self.target, phase="read")
            self._leftover = data or b""
        if self._leftover:
            reason = f"{len(self._leftover)} bytes that nobody asked for came before the request"
        elif self._in_step:
            return
        else:
            reason = "an earlier exchange failed midway and its reply may still come; connect anew"
        raise errors.UnsolicitedData(reason, address=self.target, phase="read")
