"""The client of vanishing.py: connects to a port of 10.77.0.1; sends 1,000 bytes for each line of standard input."""

from __future__ import annotations

import socket
import sys


def main() -> None:
    sock = socket.create_connection(("10.77.0.1", int(sys.argv[1])), 10)
    sock.sendall(b"ping")
    assert sock.recv(4) == b"ping"
    print("ready", flush=True)
    for _ in sys.stdin:
        sock.sendall(b"x" * 1000)
        print("sent", flush=True)


if __name__ == "__main__":
    main()
