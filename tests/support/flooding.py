"""A flooding program: `flooding.py HOST PORT COUNT` sends and reads on COUNT connections without a pause."""

from __future__ import annotations

import os
import socket
import sys
import threading

CHUNK = b"x" * 65536


def send(sock: socket.socket) -> None:
    while True:
        sock.sendall(CHUNK)


def receive(sock: socket.socket) -> None:
    buffer = bytearray(1 << 18)
    while sock.recv_into(buffer):
        pass


def main() -> None:
    os.nice(10)  # the witness and the server are measured, not the scheduler
    for _ in range(int(sys.argv[3])):
        sock = socket.create_connection((sys.argv[1], int(sys.argv[2])))
        for run in (send, receive):
            threading.Thread(target=run, args=(sock,), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
