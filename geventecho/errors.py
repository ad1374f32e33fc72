"""Every error geventecho raises, in one tree.

::

    GeventechoError
    ├── AddressError (ValueError)            a target that cannot be parsed
    ├── ConfigError (ValueError)             an option outside its range, or two that exclude each other
    ├── ServerStateError (RuntimeError)      a call the server's state does not allow
    ├── ConcurrentUse (RuntimeError)         two greenlets read, or two write, on one connection
    └── NetworkError (OSError)               something failed on `address` in `phase`
        ├── ListenError                      listen: in use, no permission, no such address
        ├── ConnectError                     connect: anything not named below
        │   ├── ResolveError                 dns: the name has no address
        │   ├── ConnectRefused               connect: nobody listens (ConnectionRefusedError)
        │   ├── ConnectTimeout               connect: no answer in time (TimeoutError)
        │   ├── ConnectReset                 connect: reset as soon as it was made (ConnectionResetError)
        │   ├── ConnectUnreachable           connect: no route to host or network
        │   └── OutOfResources               connect: no descriptor or no local port left *here*
        ├── ReadTimeout                      read: nothing, or not enough, arrived in time (TimeoutError)
        ├── WriteTimeout                     write: the peer took no more bytes in time (TimeoutError)
        ├── TornStream                       write: an earlier message was cut, the peer has a part of it
        ├── PeerReset                        read or write: the peer reset the connection (ConnectionResetError)
        ├── ClosedLocally                    read or write: used after our own close()
        └── ReplyError                       read: the peer's answer breaks the agreement
            ├── ShortReply                   the stream ended before the reply did (EOFError)
            ├── CorruptReply                 a byte differs, at `offset`
            ├── ReplyTooLong                 the reply passed the limit the framing sets
            ├── UnexpectedReply              well framed, but not what `expect` asked for
            ├── UnsolicitedData              bytes nobody asked for were waiting before the request
            │   └── UnreadGreeting           … before the first request: the server speaks first
            └── ClosedByPeer                 the peer had closed before the request was sent (EOFError)

`kind` is a short, stable label without addresses or offsets, made for grouping; the message is for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from geventecho.address import Address

__all__ = [
    "AddressError",
    "ClosedByPeer",
    "ClosedLocally",
    "ConcurrentUse",
    "ConfigError",
    "ConnectError",
    "ConnectRefused",
    "ConnectReset",
    "ConnectTimeout",
    "ConnectUnreachable",
    "CorruptReply",
    "GeventechoError",
    "ListenError",
    "NetworkError",
    "OutOfResources",
    "PeerReset",
    "ReadTimeout",
    "ReplyError",
    "ReplyTooLong",
    "ResolveError",
    "ServerStateError",
    "ShortReply",
    "TornStream",
    "UnexpectedReply",
    "UnreadGreeting",
    "UnsolicitedData",
    "WriteTimeout",
]


class GeventechoError(Exception):
    """The root of the tree."""

    kind: ClassVar[str] = "error"


class AddressError(GeventechoError, ValueError):
    """Raised when a target cannot be parsed; the message shows the forms that can."""

    kind = "bad address"


class ConfigError(GeventechoError, ValueError):
    """Raised when an option is outside its range or excludes another one."""

    kind = "bad option"


class ServerStateError(GeventechoError, RuntimeError):
    """Raised at a call that the server's state does not allow."""

    kind = "server state"


class ConcurrentUse(GeventechoError, RuntimeError):
    """Raised in the second of two greenlets that would read, or write, on one connection at once.

    The second one has read or sent nothing. One greenlet may receive while another one sends.
    """

    kind = "concurrent use"


class NetworkError(GeventechoError, OSError):
    """Raised when something fails on the network.

    Attributes:
        address: the `Address` it happened on, or None where there is none.
        phase: "dns", "connect", "tls", "read", "write" or "listen".
        errno: the system's error number, or None when the error is not the system's.
    """

    kind = "network error"

    def __init__(self, reason: str, *, address: Address | None, phase: str, errno: int | None = None) -> None:
        super().__init__(f"{phase} {address}: {reason}" if address is not None else f"{phase}: {reason}")
        self.reason = reason
        self.address = address
        self.phase = phase
        self.errno = errno


class ListenError(NetworkError):
    """Raised when a listener cannot be opened."""

    kind = "listen failed"


class ConnectError(NetworkError):
    """Raised when a connection cannot be made, for a reason without a class of its own."""

    kind = "connect failed"


class ResolveError(ConnectError):
    """Raised when a host name has no address."""

    kind = "unknown host"


class ConnectRefused(ConnectError, ConnectionRefusedError):
    """Raised when nobody listens at the address."""

    kind = "refused"


class ConnectReset(ConnectError, ConnectionResetError):
    """Raised when the peer reset the connection as soon as it was made."""

    kind = "reset"


class ConnectTimeout(ConnectError, TimeoutError):
    """Raised when the connection was not made within the connect timeout."""

    kind = "connect timeout"


class ConnectUnreachable(ConnectError):
    """Raised when there is no route to the host or its network."""

    kind = "unreachable"


class OutOfResources(ConnectError):
    """Raised when this machine, not the peer, has no descriptor or local port left."""

    kind = "out of descriptors or ports"


class ReadTimeout(NetworkError, TimeoutError):
    """Raised when nothing, or less than was agreed, arrived in time."""

    kind = "read timeout"


class WriteTimeout(NetworkError, TimeoutError):
    """Raised when the peer took no more bytes in time."""

    kind = "write timeout"


class TornStream(NetworkError):
    """Raised when a part of an earlier message was sent. Nothing more is: the peer would take both for one message."""

    kind = "torn stream"


class PeerReset(NetworkError, ConnectionResetError):
    """Raised when the peer reset the connection, or it broke underway."""

    kind = "reset"


class ClosedLocally(NetworkError):
    """Raised when a connection is used after it was closed on this side."""

    kind = "closed locally"


class ReplyError(NetworkError):
    """Raised when the peer's answer breaks the agreement.

    Attributes:
        sample: the first bytes that came, at most 80; b"" where nothing came or nothing was kept. Of a
            `CorruptReply` whose first difference lies behind them, the bytes from there on.
    """

    kind = "wrong reply"
    sample: bytes = b""


class ShortReply(ReplyError, EOFError):
    """Raised when the stream ended before the reply did.

    Attributes:
        received: bytes of the reply that arrived.
        expected: bytes it should have had, or None where the framing cannot know.
    """

    kind = "short reply"

    def __init__(self, *, address: Address | None, received: int, expected: int | None = None) -> None:
        whole = f" of {expected}" if expected is not None else ""
        super().__init__(f"the peer closed after {received}{whole} bytes of the reply", address=address, phase="read")
        self.received = received
        self.expected = expected


class CorruptReply(ReplyError):
    """Raised when a byte of the reply differs from the byte that was sent.

    Attributes:
        offset: position of the first difference, in bytes from the start of the payload.
    """

    kind = "corrupt reply"

    def __init__(self, *, address: Address | None, offset: int) -> None:
        super().__init__(f"the reply differs from offset {offset}", address=address, phase="read")
        self.offset = offset


class ReplyTooLong(ReplyError):
    """Raised when a reply passes the limit its framing sets.

    Attributes:
        limit: the limit, in bytes.
    """

    kind = "reply too long"

    def __init__(self, *, address: Address | None, limit: int) -> None:
        reason = f"the reply is longer than {limit} bytes; a larger max_size, or --reply-max, allows it"
        super().__init__(reason, address=address, phase="read")
        self.limit = limit


class UnexpectedReply(ReplyError):
    """Raised when a reply is well framed but not what `expect` asked for."""

    kind = "unexpected reply"


class UnsolicitedData(ReplyError):
    """Raised when bytes that nobody asked for were waiting before a request."""

    kind = "unsolicited data"


class UnreadGreeting(UnsolicitedData):
    """Raised when bytes came before the first request of a connection: the server speaks first.

    The client reads such a greeting with `receive`, a load test in `TcpUser.on_connect` or by --greeting-until.
    """

    kind = "unread greeting, see --greeting-until"

    def __init__(self, *, address: Address | None, count: int) -> None:
        reason = f"{count} bytes came before the first request: the server speaks first, see --greeting-until"
        super().__init__(reason, address=address, phase="read")


class ClosedByPeer(ReplyError, EOFError):
    """Raised when the peer had closed before the request was sent."""

    kind = "closed by peer"
