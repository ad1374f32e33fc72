"""All errors that geventecho raises, in one tree.

::

    GeventechoError
    ├── AddressError (ValueError)            a target that cannot be parsed
    ├── ConfigError (ValueError)             an option outside its range, or two that exclude each other
    ├── ServerStateError (RuntimeError)      a call the server's state does not allow
    ├── ConcurrentUse (RuntimeError)         two greenlets read, or two write, on one connection
    └── NetworkError (OSError)               something failed on `address` in `phase`
        ├── ListenError                      listen: in use, no permission, no such address
        ├── ConnectError                     connect: failures without a class below
        │   ├── ResolveError                 dns: the name has no address
        │   ├── ConnectRefused               connect: nobody listens (ConnectionRefusedError)
        │   │   └── NoSuchSocket             connect: the Unix socket has no file
        │   ├── ConnectTimeout               connect: no answer in time (TimeoutError)
        │   ├── ConnectReset                 connect: reset as soon as it was made (ConnectionResetError)
        │   ├── ConnectUnreachable           connect: no route to host or network
        │   └── OutOfResources               connect: this machine has no descriptor or local port left
        ├── TlsError                         tls, read or write: failures of TLS without a class below
        │   ├── HandshakeTimeout             tls: the handshake was not over in time (TimeoutError)
        │   ├── HandshakeClosed              tls: the peer closed in the middle of the handshake (EOFError)
        │   ├── NotTls                       tls: the peer's first bytes are not TLS
        │   ├── PlainBeforeTls               tls: unread bytes came before the handshake
        │   ├── NoCommonProtocol             tls: no version or cipher that both ends accept
        │   ├── NoCommonAlpn                 tls: the peer accepts none of the protocols offered by ALPN
        │   ├── CertificateRefused           tls: the peer's certificate is wrong, for a reason not below
        │   │   ├── CertificateExpired
        │   │   ├── CertificateNotYetValid
        │   │   ├── UnknownAuthority         no trusted authority has signed it, or it is self-signed
        │   │   └── WrongHostName            it is for another host
        │   └── ClientCertificateRefused     the peer refused our certificate
        │       └── CertificateRequired      the peer wants a certificate, and none was given
        ├── ReadTimeout                      read: no byte, or too few, came in time (TimeoutError)
        ├── WriteTimeout                     write: the peer took no more bytes in time (TimeoutError)
        ├── TornStream                       write: an earlier message was cut, the peer has a part of it
        ├── PeerReset                        read or write: the peer reset the connection (ConnectionResetError)
        ├── ClosedLocally                    read or write: this side has closed the connection
        └── ReplyError                       read: the reply is wrong
            ├── ShortReply                   the stream ended before the reply did (EOFError)
            ├── Truncated                    a TLS stream ended without close_notify (EOFError)
            ├── CorruptReply                 a byte differs, at `offset`
            ├── ReplyTooLong                 the reply is longer than the framing allows
            ├── UnexpectedReply              well framed, but not the expected reply
            ├── UnsolicitedData              bytes came before the request
            │   └── UnreadGreeting           bytes came before the first request: the server speaks first
            └── ClosedByPeer                 the peer had closed before the request was sent (EOFError)

`kind` is a short, stable label for grouping, without addresses or offsets. The message is for people.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from geventecho.address import Address

__all__ = [
    "AddressError", "CertificateExpired", "CertificateNotYetValid", "CertificateRefused", "CertificateRequired",
    "ClientCertificateRefused", "ClosedByPeer", "ClosedLocally", "ConcurrentUse", "ConfigError", "ConnectError",
    "ConnectRefused", "ConnectReset", "ConnectTimeout", "ConnectUnreachable", "CorruptReply", "GeventechoError",
    "HandshakeClosed", "HandshakeTimeout", "ListenError", "NetworkError", "NoCommonAlpn", "NoCommonProtocol",
    "NoSuchSocket", "NotTls", "OutOfResources", "PeerReset", "PlainBeforeTls", "ReadTimeout", "ReplyError",
    "ReplyTooLong", "ResolveError", "ServerStateError", "ShortReply", "TlsError", "TornStream", "Truncated",
    "UnexpectedReply", "UnknownAuthority", "UnreadGreeting", "UnsolicitedData", "WriteTimeout", "WrongHostName",
]  # fmt: skip


class GeventechoError(Exception):
    """The root of the tree."""

    kind: ClassVar[str] = "error"


class AddressError(GeventechoError, ValueError):
    """Raised when a target cannot be parsed. The message shows the valid forms."""

    kind = "bad address"


class ConfigError(GeventechoError, ValueError):
    """Raised when an option is outside its range or excludes another option."""

    kind = "bad option"


class ServerStateError(GeventechoError, RuntimeError):
    """Raised by a call that the state of the server does not allow."""

    kind = "server state"


class ConcurrentUse(GeventechoError, RuntimeError):
    """Raised in the second of two greenlets that would read, or write, on one connection at once.

    The second greenlet has read or sent no byte. One greenlet may receive while another one sends.
    """

    kind = "concurrent use"


class NetworkError(GeventechoError, OSError):
    """Raised when something fails on the network.

    Attributes:
        address: the `Address` of the failure, or None without an address.
        phase: "dns", "connect", "tls", "read", "write" or "listen".
        errno: the error number of the system, or None for an error without a number.
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


class NoSuchSocket(ConnectRefused):
    """Raised when a Unix socket has no file: its server has removed the file, or was never started."""

    kind = "no such socket"


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


class TlsError(NetworkError):
    """Raised when TLS fails, for a reason without a class of its own: in a handshake, or later on the connection."""

    kind = "TLS failed"


class HandshakeTimeout(TlsError, TimeoutError):
    """Raised when the TLS handshake is not over in time."""

    kind = "handshake timeout"


class HandshakeClosed(TlsError, EOFError):
    """Raised when the peer closes in the middle of the TLS handshake without a TLS alert."""

    kind = "closed in handshake"


class NotTls(TlsError):
    """Raised when the first bytes that the peer sends are not TLS."""

    kind = "not TLS"


class PlainBeforeTls(TlsError):
    """Raised at `start_tls` when unread bytes have come: they are not encrypted, and anybody may have added them.

    After the handshake they would be taken for data of the peer (CVE-2011-0411, CVE-2021-23222).
    """

    kind = "plain bytes before TLS"


class NoCommonProtocol(TlsError):
    """Raised when the two ends have no version of TLS, or no cipher, in common."""

    kind = "no common protocol or cipher"


class NoCommonAlpn(TlsError):
    """Raised when the peer accepts none of the protocols that were offered by ALPN (RFC 7301)."""

    kind = "no common ALPN protocol"


class CertificateRefused(TlsError):
    """Raised when the peer's certificate is not accepted, for a reason without a class of its own."""

    kind = "certificate refused"


class CertificateExpired(CertificateRefused):
    """Raised when the peer's certificate, or a certificate of its chain, has expired."""

    kind = "certificate expired"


class CertificateNotYetValid(CertificateRefused):
    """Raised when the peer's certificate, or a certificate of its chain, is not valid yet."""

    kind = "certificate not yet valid"


class UnknownAuthority(CertificateRefused):
    """Raised when no trusted authority has signed the peer's certificate. It may be self-signed."""

    kind = "unknown authority"


class WrongHostName(CertificateRefused):
    """Raised when the peer's certificate is for other hosts than the expected host."""

    kind = "wrong host name"


class ClientCertificateRefused(TlsError):
    """Raised when the peer refuses our certificate. With TLS 1.3 the first read after the handshake may raise it."""

    kind = "client certificate refused"


class CertificateRequired(ClientCertificateRefused):
    """Raised when the peer wants a certificate and none was given; with TLS 1.3 after the handshake, too."""

    kind = "certificate required"


class ReadTimeout(NetworkError, TimeoutError):
    """Raised when no byte, or too few, came in time."""

    kind = "read timeout"


class WriteTimeout(NetworkError, TimeoutError):
    """Raised when the peer took no more bytes in time."""

    kind = "write timeout"


class TornStream(NetworkError):
    """Raised when only a part of an earlier message was sent: the peer would take the next message for its rest."""

    kind = "torn stream"


class PeerReset(NetworkError, ConnectionResetError):
    """Raised when the peer reset the connection, or the connection broke."""

    kind = "reset"


class ClosedLocally(NetworkError):
    """Raised when a connection is used after it was closed on this side."""

    kind = "closed locally"


class ReplyError(NetworkError):
    """Raised when the reply of the peer is wrong.

    Attributes:
        sample: the first bytes that came, at most 80; b"" if none came or none were kept. In a `CorruptReply` whose
            first difference is later, the bytes from that difference on.
    """

    kind = "wrong reply"
    sample: bytes = b""


class ShortReply(ReplyError, EOFError):
    """Raised when the stream ended before the reply did.

    Attributes:
        received: bytes of the reply that came.
        expected: bytes of the whole reply, or None if the framing does not know it.
    """

    kind = "short reply"

    def __init__(self, *, address: Address | None, received: int, expected: int | None = None) -> None:
        whole = f" of {expected}" if expected is not None else ""
        super().__init__(f"the peer closed after {received}{whole} bytes of the reply", address=address, phase="read")
        self.received = received
        self.expected = expected


class Truncated(ReplyError, EOFError):
    """Raised when a TLS stream ends with only the peer's FIN: anybody on the path may have cut it (RFC 8446, 6.1)."""

    kind = "truncated"

    def __init__(self, *, address: Address | None) -> None:
        reason = "the peer closed without close_notify: the data may have been cut short"
        super().__init__(reason, address=address, phase="read")


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
    """Raised when a reply is longer than its framing allows.

    Attributes:
        limit: the limit, in bytes.
    """

    kind = "reply too long"

    def __init__(self, *, address: Address | None, limit: int) -> None:
        reason = f"the reply is longer than {limit} bytes; a larger max_size, or --reply-max, allows it"
        super().__init__(reason, address=address, phase="read")
        self.limit = limit


class UnexpectedReply(ReplyError):
    """Raised when a reply is well framed, but is not the expected reply."""

    kind = "unexpected reply"


class UnsolicitedData(ReplyError):
    """Raised when bytes came before a request: they are not its reply."""

    kind = "unsolicited data"


class UnreadGreeting(UnsolicitedData):
    """Raised when bytes came before the first request of a connection: the server speaks first.

    A client reads such a greeting with `receive`, a load test in `TcpUser.on_connect` or with --greeting-until.
    """

    kind = "unread greeting, see --greeting-until"

    def __init__(self, *, address: Address | None, count: int) -> None:
        reason = f"{count} bytes came before the first request: the server speaks first, see --greeting-until"
        super().__init__(reason, address=address, phase="read")


class ClosedByPeer(ReplyError, EOFError):
    """Raised when the peer closed before the request was sent."""

    kind = "closed by peer"
