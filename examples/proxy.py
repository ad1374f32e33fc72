"""A TCP proxy: `python examples/proxy.py 127.0.0.1:8080 127.0.0.1:8090`. It passes on half-closes."""

import signal
import sys
from contextlib import suppress

from gevent import signal_handler, socket, spawn

from geventecho import Client, TcpServer, connect

listen, upstream = sys.argv[1:] or ("127.0.0.1:8080", "127.0.0.1:8090")


def forward(sock: socket.socket, peer: object) -> None:
    with connect(upstream, timeout=None, connect_timeout=5) as client:
        replies = spawn(copy_replies, client, sock)
        while data := sock.recv(65536):
            client.send(data)
        client.end()
        replies.join()


def copy_replies(client: Client, sock: socket.socket) -> None:
    try:
        for data in client:
            sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
    except OSError:  # one of the connections broke
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)  # recv() in forward() returns


with TcpServer(listen, forward) as server:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal_handler(number, server.stop)
    print("listening on", server.address, flush=True)
    server.join()
