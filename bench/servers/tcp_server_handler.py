"""Echo server as a user of geventecho's TcpServer writes it: a handler with recv and sendall."""

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
