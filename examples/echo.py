"""An echo server in ten lines. `line_protocol.py` has a handler of its own."""

import signal
import sys

from gevent import signal_handler

from geventecho import EchoServer

with EchoServer(sys.argv[1] if sys.argv[1:] else "127.0.0.1:8090") as server:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal_handler(number, server.stop)
    print("listening on", server.address, flush=True)
    server.join()
