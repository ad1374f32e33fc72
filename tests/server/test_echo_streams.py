"""Long streams through a server process: every byte comes back, and the server's memory stays flat."""

from __future__ import annotations

import hashlib
import random
import socket as plain
import threading

import gevent
import pytest

from tests.support.servers import Process, serve
from tests.support.timing import PATIENCE

MIB = 1 << 20


class Stream(threading.Thread):
    """One client of a server in another process: sends while it reads, and compares every byte."""

    def __init__(self, address: tuple[str, int], size: int, seed: int) -> None:
        super().__init__(daemon=True)
        self.sock = plain.create_connection(address, timeout=PATIENCE * 6)
        self.block = random.Random(seed).randbytes(MIB)
        self.size = size
        self.received = 0
        self.sent_digest = self.digest = ""

    def run(self) -> None:
        sender = threading.Thread(target=self.send, daemon=True)
        sender.start()
        digest, buffer = hashlib.sha256(), bytearray(256 << 10)
        with self.sock:
            while count := self.sock.recv_into(buffer):
                digest.update(memoryview(buffer)[:count])
                self.received += count
            sender.join()
        self.digest = digest.hexdigest()

    def send(self) -> None:
        digest = hashlib.sha256()
        for start in range(0, self.size, MIB):
            piece = self.block[: self.size - start]
            self.sock.sendall(piece)
            digest.update(piece)
        self.sock.shutdown(plain.SHUT_WR)
        self.sent_digest = digest.hexdigest()


def stream_through(server: Process, count: int, size: int) -> int:
    """Run `count` streams of `size` bytes at once; returns the most bytes by which the server's memory grew."""
    host, port = server.address.host, server.address.port
    warm = Stream((host, port), 4 * MIB, 0)
    warm.start()
    warm.join()
    base = most = server.memory
    streams = [Stream((host, port), size, seed) for seed in range(count)]
    for stream in streams:
        stream.start()
    while any(stream.is_alive() for stream in streams):
        most = max(most, server.memory)
        gevent.sleep(0.02)
    for stream in streams:
        assert stream.received == size
        assert stream.digest == stream.sent_digest
    return most - base


@pytest.mark.parametrize("size", [2_500_000, pytest.param(10_000_000, marks=pytest.mark.long)])
def test_a_hundred_streams_at_once_keep_memory_flat(size: int) -> None:
    with serve() as server:
        grown = stream_through(server, 100, size)
        # A message of 64 KiB for each of a hundred streams is 6.25 MiB. Hundreds of MB have passed.
        assert grown <= 8 * MIB
        assert server.stop() == 0
        assert server.lines[-1] == "stopped: drained 0, cut 0, bytes lost 0"
        assert server.errors == ""


@pytest.mark.long
def test_a_gigabyte_on_one_connection_keeps_memory_flat() -> None:
    with serve() as server:
        assert stream_through(server, 1, 1 << 30) <= 8 * MIB
