"""The usual echo server with gevent: a greenlet per connection, recv and sendall."""

import sys

from gevent import socket, ssl
from gevent.server import StreamServer


def echo(connection: socket.socket, _address: object) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while data := connection.recv(65536):
        connection.sendall(data)


tls = {}
if "--tls" in sys.argv:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[-2:])
    tls = {"ssl_context": context}
server = StreamServer(("127.0.0.1", int(sys.argv[1])), echo, backlog=65535, **tls)
server.start()
print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
