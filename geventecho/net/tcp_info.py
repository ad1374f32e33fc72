"""What the kernel knows of a socket and epoll(7) does not report."""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Final, NamedTuple

from gevent import socket

__all__ = ["TcpLiveness", "TcpTraffic", "tcp_liveness", "tcp_traffic", "undelivered", "unread", "unsent"]

# Linux 5.x, linux/sockios.h: bytes in the send queue that the peer has not acknowledged.
SIOCOUTQ: Final = 0x5411
# linux/tcp.h, struct tcp_info: retransmits, probes; unacked; last_data_recv, last_ack_recv; notsent_bytes.
TCP_INFO: Final = struct.Struct("=2x2B20xI24x2I84xI")
# The same: retransmits; last_data_sent; last_data_recv; bytes_acked, bytes_received.
TCP_TRAFFIC: Final = struct.Struct("=2xB41xI4xI64x2Q")


# net/tcp_states.h: our FIN is not acknowledged yet; the peer has sent its own.
FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING = 4, 8, 9, 11


class TcpLiveness(NamedTuple):
    """Whether a peer's kernel still answers.

    Attributes:
        silence: seconds since anything came from it: data, or an acknowledgement (of a probe, too).
        outstanding: whether it was sent, or is about to be sent, what it has not acknowledged.
        unanswered: whether it was sent something again, or was asked twice, and has not answered. (Of one probe the
            kernel cannot be sure: an answer may come before it has counted the question.)
    """

    silence: float
    outstanding: bool
    unanswered: bool


def tcp_liveness(sock: socket.socket) -> TcpLiveness:
    """Ask after the peer of a TCP connection.

    Raises:
        OSError: the socket is closed, or is not TCP.
    """
    answer = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
    # An older kernel tells less; what it leaves out reads as zero.
    retransmits, probes, unacked, data, ack, waiting = TCP_INFO.unpack(answer.ljust(TCP_INFO.size, b"\0"))
    return TcpLiveness(min(data, ack) / 1000, bool(unacked or waiting), retransmits > 0 or probes > 1)


class TcpTraffic(NamedTuple):
    """What a connection has carried, whoever read and wrote it.

    Attributes:
        quiet: seconds since it carried anything new.
        received: bytes that have come in, those that nobody has read yet included.
        acknowledged: bytes that the peer has acknowledged; the SYN of a connect(2) is one.
    """

    quiet: float
    received: int
    acknowledged: int


def tcp_traffic(sock: socket.socket) -> TcpTraffic:
    """Ask what a TCP connection has carried.

    Raises:
        OSError: the socket is closed, or is not TCP.
    """
    answer = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_TRAFFIC.size)
    retransmits, sent, came, acknowledged, received = TCP_TRAFFIC.unpack(answer.ljust(TCP_TRAFFIC.size, b"\0"))
    # What is sent again is nothing new: a peer that has vanished would look busy.
    return TcpTraffic((came if retransmits else min(sent, came)) / 1000, received, acknowledged)


def unsent(fd: int) -> int:
    """Bytes (FIN included) in the send queue that the peer has not acknowledged (tcp(7), SIOCOUTQ)."""
    answer = fcntl.ioctl(fd, SIOCOUTQ, b"\0\0\0\0")
    return int.from_bytes(answer, "little", signed=True)


def unread(fd: int) -> int:
    """Bytes that have come in and nobody has read (tcp(7), SIOCINQ)."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"), "little", signed=True)


def undelivered(sock: socket.socket) -> int:
    """Bytes, without the FIN, that a TCP peer which is still sending has not acknowledged. 0 when it has sent its FIN.

    Raises:
        OSError: the socket is closed.
    """
    state: int = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if state in (CLOSE_WAIT, LAST_ACK, CLOSING):
        return 0
    return max(0, unsent(sock.fileno()) - int(state == FIN_WAIT1))
