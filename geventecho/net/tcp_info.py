"""The state of a socket that the kernel knows and epoll(7) does not report."""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import Final, NamedTuple

from gevent import socket

__all__ = ["TcpLiveness", "local_liveness", "path_quality", "tcp_liveness", "undelivered", "unread", "unsent"]

# Linux 5.x, linux/sockios.h: bytes in the send queue that the peer has not acknowledged.
SIOCOUTQ: Final = 0x5411
# linux/tcp.h, struct tcp_info: ca_state, retransmits, probes; unacked; last_data_sent; last_data_recv, last_ack_recv;
# bytes_acked, bytes_received; notsent_bytes; snd_wnd.
TCP_INFO: Final = struct.Struct("=x3B20xI16xI4x2I60x2Q8xI80xI")
# The same struct: rtt; total_retrans.
PATH: Final = struct.Struct("=68xI28xI")
# linux/tcp.h: bytes are being retransmitted.
CA_RECOVERY: Final = 3

# net/tcp_states.h. In FIN_WAIT1 our FIN is not acknowledged yet; in the other states the peer has sent its FIN.
FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING = 4, 8, 9, 11


class TcpLiveness(NamedTuple):
    """Whether a peer's kernel still answers, and whether it takes bytes.

    Attributes:
        silence: seconds since the peer last sent data or an acknowledgement (also of a probe).
        outstanding: whether there are bytes, sent or about to be sent, that the peer has not acknowledged.
        unanswered: whether the peer has not answered a retransmission or two probes. (After one probe the kernel
            cannot be sure: an answer may come before the kernel has counted the probe.)
        taken: bytes that the peer has acknowledged, and bytes of its window. Neither changes while the peer takes
            nothing, even while it answers the probes of its closed window.
        stalled: seconds since the peer last took bytes. None: the kernel does not know, because it retransmits.
        received: bytes that have arrived, unread bytes included.
        quiet: seconds since the connection carried new bytes, also through another socket object.
    """

    silence: float
    outstanding: bool
    unanswered: bool
    taken: tuple[int, int]
    stalled: float | None
    received: int = 0
    quiet: float = 0.0


def tcp_liveness(sock: socket.socket) -> TcpLiveness:
    """Ask the kernel about the peer of a TCP connection.

    Raises:
        OSError: the socket is closed, or is not TCP.
    """
    answer = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO.size)
    # An older kernel gives fewer fields; the missing ones read as zero.
    answer = answer.ljust(TCP_INFO.size, b"\0")
    state, retransmits, probes, unacked, sent, data, ack, acked, received, notsent, window = TCP_INFO.unpack(answer)
    # Once the window is full, the kernel sends only when the peer takes bytes. If the window is small,
    # bytes may wait for the next probe.
    stalled = None if state >= CA_RECOVERY else 0.0 if window and not unacked else sent / 1000
    return TcpLiveness(
        silence=min(data, ack) / 1000,
        outstanding=bool(unacked or notsent),
        unanswered=retransmits > 0 or probes > 1,
        taken=(acked, window),
        stalled=stalled,
        received=received,
        # Retransmitted bytes are not new: a vanished peer would look busy.
        quiet=(data if retransmits or stalled is None else min(sent, data)) / 1000,
    )


def local_liveness(sock: socket.socket) -> TcpLiveness:
    """The same for a connection over a Unix socket, whose peer cannot vanish.

    Raises:
        OSError: the socket is closed.
    """
    queued = unsent(sock.fileno())
    return TcpLiveness(0.0, queued > 0, False, (-queued, 0), None)


def path_quality(sock: socket.socket) -> tuple[int, int]:
    """The smoothed round trip of a TCP connection in microseconds, and the number of retransmitted segments.

    Raises:
        OSError: the socket is closed, or is not TCP.
    """
    rtt, retransmits = PATH.unpack(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, PATH.size))
    return rtt, retransmits


def unsent(fd: int) -> int:
    """Bytes (FIN included) in the send queue that the peer has not acknowledged (tcp(7), SIOCOUTQ)."""
    answer = fcntl.ioctl(fd, SIOCOUTQ, b"\0\0\0\0")
    return int.from_bytes(answer, "little", signed=True)


def unread(fd: int) -> int:
    """Bytes that have arrived and are unread (tcp(7), SIOCINQ)."""
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"), "little", signed=True)


def undelivered(sock: socket.socket) -> int:
    """Bytes, without the FIN, that a TCP peer has not acknowledged. 0 when the peer has sent its FIN.

    Raises:
        OSError: the socket is closed.
    """
    state: int = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]
    if state in (CLOSE_WAIT, LAST_ACK, CLOSING):
        return 0
    return max(0, unsent(sock.fileno()) - int(state == FIN_WAIT1))
