"""Listeners with full queues and clients that reset the handshake: `unshare -Urn python dropping.py`.

Prints a line of JSON: for each step the count of `QueueDrops`, then the kernel's counters of overflows and of drops.
"""

from __future__ import annotations

import json
import socket as plain
import struct
import subprocess
import time

from gevent import socket

from geventecho.address import SockAddr
from geventecho.net.accept_queue import PAUSE, QueueDrops, _overflows, _socket_drops
from tests.support.timing import PATIENCE

RST = struct.pack("ii", 1, 0)


def reset_handshake(address: SockAddr) -> None:
    """Connect as HAProxy's health check does: it sends RST in place of the last ACK."""
    with plain.socket() as client:
        client.setsockopt(plain.IPPROTO_TCP, plain.TCP_QUICKACK, 0)
        client.setblocking(False)
        client.connect_ex(address)
        client.setsockopt(plain.SOL_SOCKET, plain.SO_LINGER, RST)


def reset_handshakes(listener: socket.socket, count: int) -> None:
    """Reset `count` handshakes, and wait until the kernel has counted them."""
    before = _socket_drops(listener)
    for _ in range(count):
        reset_handshake(listener.getsockname())
    end = time.monotonic() + PATIENCE
    while _socket_drops(listener) < before + count:
        assert time.monotonic() < end, (_socket_drops(listener), before, count)


def overflow(listener: socket.socket, clients: list[plain.socket]) -> None:
    """Connect more clients than the queue holds."""
    before = _overflows() or 0
    for _ in range(8):
        clients.append(plain.socket())
        clients[-1].setblocking(False)
        clients[-1].connect_ex(listener.getsockname())
    end = time.monotonic() + PATIENCE
    while (_overflows() or 0) < before + 5:
        assert time.monotonic() < end


def make_listener() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(2)
    return listener


def main() -> None:
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    ours, other = make_listener(), make_listener()
    drops = QueueDrops(ours)
    clients: list[plain.socket] = []
    found: dict[str, list[int | None]] = {}

    def note(step: str, taken: int) -> None:
        found[step] = [drops.count(taken), _overflows(), _socket_drops(ours)]

    reset_handshakes(ours, 20)
    note("resets", 0)
    reset_handshakes(ours, 20)
    note("resets, and the queue can have been full", 100)
    overflow(other, clients)
    reset_handshakes(ours, 20)
    time.sleep(PAUSE)
    note("resets, and another queue is full", 0)
    before = _overflows() or 0
    reset_handshakes(ours, 20)
    overflow(ours, clients)
    note("full", 0)
    found["overflows of the last step"] = [(_overflows() or 0) - before]
    note("nothing new", 100)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
