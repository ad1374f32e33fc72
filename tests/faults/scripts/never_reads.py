"""Sends to host and port without reading, until the socket has taken no byte for half a second; then prints "ready".

Every buffer is full then, and the server has bytes that it cannot send.
"""

from __future__ import annotations

import select
import socket
import sys


def main() -> None:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    sock.connect((sys.argv[1], int(sys.argv[2])))
    sock.setblocking(False)
    while select.select([], [sock], [], 0.5)[1]:
        sock.send(b"x" * 65536)
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
