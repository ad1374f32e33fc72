"""geventecho's echo server without the hub's part: the greenlet of a connection receives and sends each message."""

import sys

from geventecho import EchoServer

server = EchoServer(f"127.0.0.1:{sys.argv[1]}")
server.in_hub = False
server.start()
print(f"listening on {server.address}", flush=True)
server.serve_forever()
