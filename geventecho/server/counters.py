"""The counters of one process: absolute numbers that only grow, in one block that another process can read."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from typing import Final, Protocol

__all__ = ["COUNTERS", "Counters", "Ending", "HandshakeFailure", "HeaderFailure", "Refusal", "Traffic"]


class Ending(enum.Enum):
    """Why a connection ended; each has a counter, `ended_<value>`."""

    __hash__ = object.__hash__  # Enum's own is a Python function, and costs as much as the rest of counting an end

    PEER = "peer"
    """The peer sent FIN, or close_notify; all its bytes were returned."""
    TRUNCATED = "truncated"
    """The peer of a TLS connection sent FIN without close_notify; all its bytes were returned."""
    PROXY_HEADER = "proxy_header"
    """A proxy sent no PROXY header."""
    HANDSHAKE = "handshake"
    """The TLS handshake failed."""
    NO_PAYLOAD = "no_payload"
    """The peer of a TLS connection sent 32 records without payload in a row, or took no answers to them."""
    RESET = "reset"
    """The connection broke: RST, or an error of the network."""
    IDLE = "idle"
    """No byte in either direction for `idle_timeout`."""
    FIRST_BYTE = "first_byte"
    """The peer sent nothing within `first_byte_timeout`."""
    LIFETIME = "lifetime"
    """The connection was `lifetime` old."""
    BYTES = "bytes"
    """The connection had received `max_bytes`."""
    WRITE_STALL = "write_stall"
    """The peer took no byte for `write_stall` while it was owed bytes."""
    SLOW = "slow"
    """The connection was in use, and carried less than `min_rate`."""
    VANISHED = "vanished"
    """Nothing came from the peer's host any more, not even an acknowledgement."""
    DRAINED = "drained"
    """The connection carried no byte for `drain_idle` during a drain, or had not begun."""
    CUT = "cut"
    """The connection was still open at `drain_timeout`."""
    KILLED = "killed"
    """The worker process was killed, or ended by itself."""
    HANDLER = "handler"
    """The handler of a `TcpServer` returned."""
    TIMEOUT = "timeout"
    """The handler of a `TcpServer` raised a timeout of its own."""
    FAILURE = "failure"
    """The handler raised anything else."""


class HandshakeFailure(enum.Enum):
    """Why a TLS handshake failed; each has a counter, `handshake_<value>`."""

    TIMEOUT = "timeout"
    """The handshake took longer than `tls_handshake_timeout`."""
    GONE = "gone"
    """The peer closed or reset the connection."""
    NOT_TLS = "not_tls"
    """The peer sent something else than a handshake."""
    VERSION = "version"
    """The peer knows no version of TLS that the server takes."""
    CIPHER = "cipher"
    """Client and server have no cipher or signature algorithm in common."""
    NO_CERTIFICATE = "no_certificate"
    """The server asks for a certificate, and the peer has none."""
    BAD_CERTIFICATE = "bad_certificate"
    """The peer's certificate is of an unknown authority, or has expired, or is not for clients."""
    ALERT = "alert"
    """The peer sent an alert; it may not trust the server's certificate."""
    ALPN = "alpn"
    """The peer offered none of the protocols in `alpn`."""
    OTHER = "other"
    """Anything else."""


class HeaderFailure(enum.Enum):
    """Why there is no PROXY header; each has a counter, `proxy_header_<value>`."""

    PROBE = "probe"
    """The proxy closed or reset the connection before it sent anything, as health checks do."""
    GONE = "gone"
    """The proxy closed or reset the connection within the header."""
    TIMEOUT = "timeout"
    """The header took longer than `proxy_header_timeout`."""
    MALFORMED = "malformed"
    """The proxy sent something else, or a header that is too long."""


class Refusal(enum.Enum):
    """Why a connection was accepted and closed at once, or after its PROXY header; each has a counter,
    `refused_<value>`."""

    FULL = "full"
    """`max_connections` were open."""
    DENIED = "denied"
    """The peer's address is on the deny list, or not on the allow list."""
    ADDRESS_FULL = "address_full"
    """The peer's address had `max_per_address` connections open."""
    CONNECT_RATE = "connect_rate"
    """The peer's address connected more often than `connect_rate`."""
    NO_DESCRIPTOR = "no_descriptor"
    """The process or the machine had no descriptor left."""


COUNTERS: Final[tuple[str, ...]] = (
    "accepted",
    *(f"refused_{refusal.value}" for refusal in Refusal),
    *(f"ended_{ending.value}" for ending in Ending),
    *(f"proxy_header_{failure.value}" for failure in HeaderFailure),
    *(f"handshake_{failure.value}" for failure in HandshakeFailure),
    "accept_errors",
    "queue_drops",
    "bytes_received",
    "bytes_sent",
    "bytes_discarded",
    "bytes_lost",
    "bytes_destroyed",
    "rtt_count",
    "rtt_us",
    "retransmits",
)
"""The names, in the block's order. `accepted` includes refused connections, so accepted = refused + ended + open.
`ended_handshake` is the sum of the `handshake_<value>`, `ended_proxy_header` is the sum of the `proxy_header_<value>`.
`queue_drops` are connects that the kernel dropped because this listener's accept queue was full: they were never
accepted, and most clients try again. `bytes_destroyed` were sent, and the kernel did not deliver them: they are in
`bytes_lost`, and no longer in `bytes_sent`. The last three are 0 unless the counters are made with `tcp_info`: the
number of ended TCP connections with figures of the kernel, the sum of their round-trip times in microseconds, and the
number of their retransmitted segments."""

INDEX: Final = {name: index for index, name in enumerate(COUNTERS)}
REFUSED: Final = {refusal: INDEX[f"refused_{refusal.value}"] for refusal in Refusal}
OUTCOMES: Final = {ending: INDEX[f"ended_{ending.value}"] for ending in Ending} | REFUSED
RECEIVED, SENT, DISCARDED, LOST, DESTROYED = (
    INDEX[f"bytes_{kind}"] for kind in ("received", "sent", "discarded", "lost", "destroyed")
)
RTT_COUNT, RTT, RETRANSMITS = INDEX["rtt_count"], INDEX["rtt_us"], INDEX["retransmits"]


class Traffic:
    """Bytes that all connections of a server have carried so far, open connections included.

    A message costs one addition here: the hub adds the bytes that it returns at once to `echoed`.

    Attributes:
        echoed: received and sent at once.
        read: received otherwise, before our FIN.
        written: sent otherwise, less `destroyed`.
        discarded: received after our FIN.
        destroyed: sent, but destroyed in the kernel.
    """

    __slots__ = ("destroyed", "discarded", "echoed", "read", "written")

    def __init__(self) -> None:
        self.echoed = self.read = self.written = self.discarded = self.destroyed = 0


class Block(Protocol):
    """A row of integers: a list, or a memoryview of 64-bit integers."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...
    def __iter__(self) -> Iterator[int]: ...


class Counters:
    """A block of counters.

    Args:
        block: ``len(COUNTERS)`` integers to count in; by default a new list. Counting goes on from its numbers.
        tcp_info: whether to ask the kernel, at the end of each TCP connection, for its round-trip time and retransmits.

    Attributes:
        tcp_info: as given.
        traffic: where connections count their bytes. `update` brings the block up to date with it.
    """

    __slots__ = ("block", "tcp_info", "traffic")

    def __init__(self, block: Block | None = None, *, tcp_info: bool = False) -> None:
        self.tcp_info = tcp_info
        self.block: Block = [0] * len(COUNTERS) if block is None else block
        self.traffic = traffic = Traffic()
        traffic.discarded, traffic.destroyed = self.block[DISCARDED], self.block[DESTROYED]
        traffic.read, traffic.written = self.block[RECEIVED] - traffic.discarded, self.block[SENT]

    def add(self, name: str, count: int = 1) -> None:
        """Add to the counter of that name."""
        self.block[INDEX[name]] += count

    def refuse(self, refusal: Refusal) -> None:
        """Count a connection that was accepted and closed at once."""
        self.block[INDEX["accepted"]] += 1
        self.block[REFUSED[refusal]] += 1

    def end(self, ending: Ending | Refusal, lost: int = 0) -> None:
        """Count a connection that ended, or was refused after its PROXY header, and the bytes still owed."""
        self.block[OUTCOMES[ending]] += 1
        self.block[LOST] += lost

    def add_path(self, rtt: int, retransmits: int) -> None:
        """Count the kernel's figures of a connection: its round-trip time in microseconds, and retransmits."""
        self.block[RTT_COUNT] += 1
        self.block[RTT] += rtt
        self.block[RETRANSMITS] += retransmits

    def update(self) -> None:
        """Put the bytes carried so far into the block."""
        traffic, block = self.traffic, self.block
        block[RECEIVED] = traffic.echoed + traffic.read + traffic.discarded
        block[SENT] = traffic.echoed + traffic.written
        block[DISCARDED] = traffic.discarded
        block[DESTROYED] = traffic.destroyed

    def __getitem__(self, name: str) -> int:
        return self.as_dict()[name]

    def as_dict(self) -> dict[str, int]:
        """All counters by name, exact at this moment."""
        self.update()
        return dict(zip(COUNTERS, self.block, strict=True))
