"""An attacking program: `attacking.py HOST PORT resets|crowd TIMES` in each of four threads; it ends when it is done.

resets: send 1 MiB, read 100 KiB of the echo, reset. crowd: one echo, then close, or reset every other time.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import sys
import threading

KIB = 1024
THREADS = 4


def connect() -> socket.socket:
    return socket.create_connection((sys.argv[1], int(sys.argv[2])), 30)


def reset(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def resets(times: int) -> None:
    for _ in range(times):
        sock = connect()
        sock.setblocking(False)
        sent = received = 0
        with contextlib.suppress(BlockingIOError):
            while sent < 1024 * KIB:
                sent += sock.send(b"x" * 64 * KIB)
        sock.setblocking(True)
        while received < min(sent, 100 * KIB):
            received += len(sock.recv(100 * KIB))
        reset(sock)


def crowd(times: int) -> None:
    for turn in range(times):
        sock = connect()
        sock.sendall(b"ping")
        assert sock.recv(4) == b"ping"
        reset(sock) if turn % 2 else sock.close()


def main() -> None:
    os.nice(10)  # the witness and the server are measured, not the scheduler
    attack = {"resets": resets, "crowd": crowd}[sys.argv[3]]
    threads = [threading.Thread(target=attack, args=(int(sys.argv[4]),)) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main()
