"""The usual echo server with geventecho's TcpServer: a handler with recv and sendall."""

import sys

from gevent import socket

from geventecho import TcpServer


def echo(connection: socket.socket, _address: object) -> None:
    while data := connection.recv(65536):
        connection.sendall(data)


server = TcpServer(f"127.0.0.1:{sys.argv[1]}", echo)
server.start()
print(f"listening on {server.address}", flush=True)
server.serve_forever()
