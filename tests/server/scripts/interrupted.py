"""Serves with a handler (`handler`) or as an echo server (`echo`); exits with 77 when Ctrl-C ends `serve_forever`."""

from __future__ import annotations

import sys
from collections.abc import Callable

from gevent import socket

from geventecho import EchoServer, TcpServer


def busy(sock: socket.socket, _peer: object) -> None:
    while data := sock.recv(10):
        sock.sendall(data)


def listening(server: TcpServer) -> None:
    assert server.address is not None
    print(server.address.port, flush=True)


SERVERS: dict[str, Callable[[], TcpServer]] = {
    "handler": lambda: TcpServer("127.0.0.1:0", busy, on_listening=listening),
    "echo": lambda: EchoServer("127.0.0.1:0", on_listening=listening),
}


def main() -> None:
    server = SERVERS[sys.argv[1]]()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        sys.exit(77)


if __name__ == "__main__":
    main()
