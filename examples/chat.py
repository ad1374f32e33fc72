"""A chat: each line goes to all other members. Try it with `nc 127.0.0.1 8090` in two terminals."""

import signal
import sys
from contextlib import suppress

from gevent import queue, signal_handler, socket, spawn

from geventecho import TcpServer

outboxes: set[queue.Queue] = set()


def chat(sock: socket.socket, peer: object) -> None:
    outbox = queue.Queue(maxsize=100)
    outboxes.add(outbox)
    writer = spawn(write, sock, outbox)
    try:
        with sock.makefile("rb") as lines:
            while line := lines.readline(1024):
                for other in outboxes - {outbox}:
                    with suppress(queue.Full):  # a member that does not read misses lines; no other waits for it
                        other.put_nowait(line)
    finally:
        outboxes.remove(outbox)
        writer.kill()


def write(sock: socket.socket, outbox: queue.Queue) -> None:
    with suppress(OSError):  # the connection broke; chat() ends too
        for line in outbox:
            sock.sendall(line)


with TcpServer(sys.argv[1] if sys.argv[1:] else "127.0.0.1:8090", chat) as server:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal_handler(number, server.stop)
    print("listening on", server.address, flush=True)
    server.join()
