"""Connects that the kernel drops because a listener's accept queue is full."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Final

from gevent import socket

__all__ = ["QueueDrops"]

# asm-generic/socket.h: SO_MEMINFO, nine numbers; the last is sk_drops (linux/sock_diag.h).
SO_MEMINFO: Final = 55
MEMINFO: Final = struct.Struct("=9I")
# linux/tcp.h, struct tcp_info: for a listener, tcpi_unacked is the queue's length and tcpi_sacked its limit.
QUEUE: Final = struct.Struct("=24x2I")
NETSTAT: Final = Path("/proc/net/netstat")
PAUSE: Final = 0.1
"""Seconds between two reads of ListenOverflows while the queue is not full. A read takes 100 us."""


class QueueDrops:
    """Counts the drops of one listener.

    No counter of the kernel has this number. The listener's own counter, sk_drops (Linux 4.12), also counts handshakes
    that the client resets: HAProxy's health check and SYN scans do that. ListenOverflows of netstat(8) counts full
    queues only, but of all listeners in the network namespace of this process. A drop counts if both counters rose and
    this listener's queue may have been full. If ListenOverflows cannot be read, the other two conditions decide.

    Args:
        listener: a listening socket. A Unix socket has no drops.
    """

    ANY: Final = 1 << 32
    """The argument of `count` when other processes accept from the queue, too."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._drops = _socket_drops(listener)
        self._overflows = _overflows()
        self._read_at = time.monotonic()

    def count(self, taken: int) -> int:
        """The number of drops since the last call.

        Args:
            taken: the largest number of connections that may have left the queue since the last call.
        """
        drops = _socket_drops(self._listener)
        new_drops = (drops - self._drops) & 0xFFFFFFFF
        self._drops = drops
        if not new_drops:
            return 0
        may_be_full, now = self._may_have_been_full(taken), time.monotonic()
        if not may_be_full and now < self._read_at + PAUSE:
            return 0
        overflows, before, self._read_at = _overflows(), self._overflows, now
        if overflows is None or before is None:
            return new_drops if may_be_full else 0
        confirmed = min(new_drops, overflows - before) if may_be_full else 0
        # The kernel counts an overflow before its drop. If the drop came after the first read, the next call counts
        # both.
        later_drops = (_socket_drops(self._listener) - drops) & 0xFFFFFFFF
        self._overflows = overflows - min(later_drops, overflows - before - confirmed)
        return confirmed

    def _may_have_been_full(self, taken: int) -> bool:
        """Only accept(2) shortens the queue, so it was never longer than its length now and `taken` together."""
        try:
            answer = self._listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, QUEUE.size)
        except OSError:
            return False
        length, limit = QUEUE.unpack(answer)
        return bool(length + taken > limit)


def _socket_drops(listener: socket.socket) -> int:
    """sk_drops; 0 if the kernel does not report it."""
    try:
        answer = listener.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO.size)
    except OSError:
        return 0
    return int(MEMINFO.unpack(answer)[-1]) if len(answer) == MEMINFO.size else 0


def _overflows() -> int | None:
    """ListenOverflows of this network namespace; None if it cannot be read."""
    try:
        lines = [line.split() for line in NETSTAT.read_text().splitlines() if line.startswith("TcpExt:")]
        return int(lines[1][lines[0].index("ListenOverflows")])
    except (OSError, ValueError, IndexError):
        return None
