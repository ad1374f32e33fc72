"""Helpers of the fault tests: a server that reports its counters, a witness beside it, and the checks afterwards."""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import gevent

from tests.support import ROOT
from tests.support.servers import Process, assert_adds_up, ping
from tests.support.timing import PATIENCE, UNIT, wait_until

Result = TypeVar("Result")
RST = struct.pack("ii", 1, 0)
KIB, MIB = 1 << 10, 1 << 20


class Counted(Process):
    """`counted.py` with options of ServerConfig, and of its own.

    Args:
        popen: options of Popen.
        options: of the server.
    """

    def __init__(self, popen: dict[str, Any] | None = None, **options: Any) -> None:
        super().__init__("-m", "tests.support.counted", json.dumps(options), **{"cwd": ROOT, **(popen or {})})

    def counters(self) -> dict[str, int]:
        """The current counters, with greenlets, descriptors and dropped log lines."""
        reported = len(self._reports())
        self.signal(signal.SIGUSR2)
        wait_until(lambda: len(self._reports()) > reported, goal="the server's counters")
        return self.last_report()

    def last_report(self) -> dict[str, int]:
        """The counters that it has printed last: the final counters once it has ended."""
        counters: dict[str, int] = json.loads(self._reports()[-1])
        return counters

    def _reports(self) -> list[str]:
        return [line for line in self.lines if line.startswith("{")]

    def wait_for(self, **counters: int) -> dict[str, int]:
        """Wait until the counters have these values; returns them all."""
        end = time.monotonic() + PATIENCE
        while True:
            found = self.counters()
            if all(found[name] == value for name, value in counters.items()):
                return found
            assert time.monotonic() < end, f"{counters} wanted: {found}"
            gevent.sleep(0.02)

    def plain_connect(self, **options: Any) -> socket.socket:
        """A blocking client."""
        return socket.create_connection((self.address.host, self.address.port), PATIENCE, **options)


@contextlib.contextmanager
def counted(popen: dict[str, Any] | None = None, *, witnesses: int = 0, **options: Any) -> Iterator[Counted]:
    """A server; after the block no descriptor or greenlet is left, the counters add up, and there is no traceback.

    Args:
        popen: options of Popen.
        witnesses: connections that the test holds open at the end of the block.
        options: of the server.
    """
    with Counted(popen, **options) as server:
        with server.connect() as client:
            ping(client)
        base = server.wait_for(open=0)
        yield server
        if server.popen.poll() is None:
            after = server.wait_for(open=witnesses)
            assert after["descriptors"] <= base["descriptors"] + witnesses, (base, after)
            assert after["greenlets"] <= base["greenlets"] + witnesses, (base, after)
            assert_adds_up(after, echoes=options.get("handler") is None)
            assert server.stop() == 0
        assert_adds_up(server.last_report(), echoes=options.get("handler") is None)
        assert "Traceback" not in server.errors, server.errors


@dataclass
class Sight:
    """The observations of a witness. Times are in milliseconds.

    Attributes:
        pings: answered pings.
        errors: of the pings; `witness` checks that there are none.
        p50, p95, p99, max: of the round trips.
        gap: the longest time between two answers.
    """

    pings: int = 0
    errors: list[str] = field(default_factory=list)
    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0
    gap: float = 0.0


@contextlib.contextmanager
def program(name: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A program of this folder, ready; killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", f"tests.support.{name}", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def attack(server: Process, kind: str, times: int) -> None:
    """Run `attacking.py` to its end, with `times` attacks in each of its four threads."""
    arguments = [server.address.host, str(server.address.port), kind, str(times)]
    command = [sys.executable, "-m", "tests.support.attacking", *arguments]
    subprocess.run(command, cwd=ROOT, check=True, timeout=6 * PATIENCE)


@contextlib.contextmanager
def witness(server: Process) -> Iterator[Sight]:
    """Ping the server every 10 ms during the block; its end fills in the observations."""
    sight = Sight()
    with program("pinging", server.address.host, str(server.address.port)) as process:
        yield sight
        output, _ = process.communicate(timeout=PATIENCE)
        for name, value in json.loads(output).items():
            setattr(sight, name, value)
    assert sight.errors == []
    assert sight.pings > 0


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST)
    sock.close()


def in_threads(function: Callable[..., Result], calls: list[tuple[Any, ...]]) -> list[Result]:
    """Run blocking calls in threads at once, while this process's greenlets go on."""
    pool = gevent.get_hub().threadpool
    size, pool.maxsize = pool.maxsize, max(pool.maxsize, len(calls))
    try:
        return [one.get() for one in [pool.spawn(function, *arguments) for arguments in calls]]
    finally:
        pool.maxsize = size


def ask(server: Counted) -> tuple[bool, float]:
    """Connect and send a ping; returns whether it was served, and the seconds until that was known."""
    began = time.monotonic()
    with server.plain_connect() as client:
        try:
            client.sendall(b"ping")
            served = client.recv(4) == b"ping"
        except ConnectionError:
            served = False
    return served, time.monotonic() - began


def send_until_full(client: socket.socket, quiet: float = UNIT) -> None:
    """Send without reading until the connection has taken no byte for `quiet` seconds."""
    client.setblocking(False)
    last = time.monotonic()
    while time.monotonic() - last < quiet:
        try:
            client.send(b"x" * 65536)
            last = time.monotonic()
        except BlockingIOError:
            gevent.sleep(0.005)


def half_close(server: Counted, size: int) -> None:
    """Send `size` bytes in a thread, half-close, read to the end in another thread, and compare the hashes."""
    block = random.Random(size).randbytes(min(size, MIB))
    sent, received, count = hashlib.sha256(), hashlib.sha256(), 0
    with server.plain_connect() as client:

        def send() -> None:
            for start in range(0, size, MIB):
                piece = block[: size - start]
                client.sendall(piece)
                sent.update(piece)
            client.shutdown(socket.SHUT_WR)

        sending = gevent.get_hub().threadpool.spawn(send)
        buffer = bytearray(256 * KIB)

        def receive() -> None:
            nonlocal count
            while got := client.recv_into(buffer):
                received.update(memoryview(buffer)[:got])
                count += got

        gevent.get_hub().threadpool.spawn(receive).get()
        sending.get()
    assert count == size
    assert received.digest() == sent.digest()
