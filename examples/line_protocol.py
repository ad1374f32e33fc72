"""A line protocol: `SET key value` and `GET key`. Try it with `nc 127.0.0.1 8090`."""

import signal
import sys

from gevent import signal_handler, socket

from geventecho import TcpServer

MAX_LINE = 1024  # bytes; without a limit one client can fill the memory
values: dict[bytes, bytes] = {}


def answer(line: bytes) -> bytes:
    match line.split(maxsplit=2):
        case [b"SET", key, value]:
            values[key] = value.rstrip()
            return b"OK"
        case [b"GET", key]:
            return values.get(key, b"NOT FOUND")
    return b"ERROR: send SET key value or GET key"


def handle(sock: socket.socket, peer: object) -> None:
    with sock.makefile("rb") as lines:
        while line := lines.readline(MAX_LINE):
            if not line.endswith(b"\n"):
                sock.sendall(b"ERROR: a line ends with a newline and has at most 1024 bytes\n")
                return
            sock.sendall(answer(line) + b"\n")


with TcpServer(sys.argv[1] if sys.argv[1:] else "127.0.0.1:8090", handle, idle_timeout=300) as server:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal_handler(number, server.stop)
    print("listening on", server.address, flush=True)
    server.join()
