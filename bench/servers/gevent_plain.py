"""Echo server as everybody writes it with gevent: a greenlet per connection, recv and sendall."""

import sys

from gevent import socket
from gevent.server import StreamServer


def echo(connection: socket.socket, _address: object) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(65536):
        connection.sendall(data)


server = StreamServer(("127.0.0.1", int(sys.argv[1])), echo, backlog=65535)
server.start()
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
