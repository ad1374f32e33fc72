"""A server with known replies and delays: `python -m tests.loadtest.golden.server '{"delay": 0.02}'`.

It answers each request with the same bytes. At the end of its standard input it prints its counts as JSON: the bytes,
and the instants at which the kernel received the requests. It has one thread, and uses only the standard library.
"""

from __future__ import annotations

import heapq
import json
import selectors
import socket
import struct
import sys
import time
from dataclasses import dataclass

RST_ON_CLOSE = struct.pack("ii", 1, 0)
SO_TIMESTAMPNS = 35  # asm-generic/socket.h
TIMESPEC = struct.Struct("@ll")
SLOWED = 10


@dataclass(frozen=True)
class Behaviour:
    """The behaviour of the server.

    Attributes:
        size: bytes of a request.
        delay: seconds from a request to its reply.
        one_by_one: begin a reply when the previous reply is sent. So the capacity is 1 / delay requests a second.
        gap: seconds between the halves of a reply; 0 for a reply in one piece.
        slow: seconds, from the first request on, in which the delay is ten times as long.
        reset_every: each request whose number is a multiple of this resets its connection; 0 for no reset.
        silent_every: each request whose number is a multiple of this gets no reply; 0 to answer all.
    """

    size: int = 64
    delay: float = 0.0
    one_by_one: bool = False
    gap: float = 0.0
    slow: float = 0.0
    reset_every: int = 0
    silent_every: int = 0


class Server:
    """Serves on a free port of 127.0.0.1."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._read: dict[socket.socket, bytearray] = {}
        self._replies: list[tuple[float, int, socket.socket, bytes]] = []
        self._first = self._last = 0.0
        self._pieces = self.bytes_received = self.bytes_sent = 0
        self.arrivals: list[int] = []

    def run(self) -> None:
        """Serve until the end of standard input."""
        print(f"tcp://127.0.0.1:{self._listener.getsockname()[1]}", flush=True)
        while True:
            wait = max(0.0, self._replies[0][0] - time.monotonic()) if self._replies else None
            for key, _ in self._selector.select(wait):
                if key.data is None:
                    return
                key.data(key.fileobj)
            while self._replies and self._replies[0][0] <= time.monotonic():
                self._send(*heapq.heappop(self._replies)[2:])

    def _accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self._read[connection] = bytearray()
        self._selector.register(connection, selectors.EVENT_READ, self._receive)

    def _receive(self, connection: socket.socket) -> None:
        try:
            data, ancillary, _, _ = connection.recvmsg(65536, 64)
        except OSError:
            data, ancillary = b"", []
        if not data:
            return self._close(connection)
        # The kernel begins to stamp a moment after setsockopt(2).
        seconds, nanoseconds = TIMESPEC.unpack(ancillary[0][2]) if ancillary else (0, time.time_ns())
        self.bytes_received += len(data)
        read, size = self._read[connection], self._behaviour.size
        read += data
        while len(read) >= size and connection in self._read:
            self.arrivals.append(seconds * 1_000_000_000 + nanoseconds)
            self._answer(connection, bytes(read[:size]))
            del read[:size]
        return None

    def _answer(self, connection: socket.socket, request: bytes) -> None:
        behaviour, number, now = self._behaviour, len(self.arrivals), time.monotonic()
        self._first = self._first or now
        if behaviour.reset_every and number % behaviour.reset_every == 0:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            return self._close(connection)
        if behaviour.silent_every and number % behaviour.silent_every == 0:
            return None
        begun = max(now, self._last) if behaviour.one_by_one else now
        is_slow = now < self._first + behaviour.slow
        self._last = begun + behaviour.delay * (SLOWED if is_slow else 1)
        if behaviour.gap:
            half = len(request) // 2
            self._plan(self._last, connection, request[:half])
            self._plan(self._last + behaviour.gap, connection, request[half:])
        else:
            self._plan(self._last, connection, request)
        return None

    def _plan(self, at: float, connection: socket.socket, data: bytes) -> None:
        self._pieces += 1
        heapq.heappush(self._replies, (at, self._pieces, connection, data))

    def _send(self, connection: socket.socket, data: bytes) -> None:
        if connection in self._read:
            try:
                connection.sendall(data)
                self.bytes_sent += len(data)
            except OSError:
                self._close(connection)

    def _close(self, connection: socket.socket) -> None:
        self._selector.unregister(connection)
        del self._read[connection]
        connection.close()


def main() -> None:
    server = Server(Behaviour(**json.loads(sys.argv[1])))
    server.run()
    print(json.dumps({name: getattr(server, name) for name in ("bytes_received", "bytes_sent", "arrivals")}))


if __name__ == "__main__":
    main()
