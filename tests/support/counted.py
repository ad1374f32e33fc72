"""A server program for fault tests: `counted.py '{"option": value}'`.

SIGUSR2 prints its counters as a line of JSON, with its descriptors and greenlets.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys

import gevent
import greenlet

from geventecho.server import deadlines, listener
from geventecho.server.tcp_server import EchoServer, TcpServer
from geventecho.service import LineWriter, logs
from geventecho.service.worker import serve


def stubborn(sock: gevent.socket.socket, _peer: object) -> None:
    """Ignore each attempt to end this greenlet."""
    while True:
        try:
            if not sock.recv(65536):
                return
        except gevent.GreenletExit:
            pass


def plain(sock: gevent.socket.socket, _peer: object) -> None:
    """Echo as the simplest handler does."""
    while data := sock.recv(65536):
        sock.sendall(data)


def main() -> int:
    options = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    handler = {"stubborn": stubborn, "plain": plain, None: None}[options.pop("handler", None)]
    if "keepalive" in options:
        listener.KEEPALIVE.update(zip(listener.KEEPALIVE, options.pop("keepalive"), strict=True))
    deadlines.SILENCE = options.pop("silence", deadlines.SILENCE)  # type: ignore[misc]
    address = options.pop("address", "127.0.0.1:0")
    log = logs.configure(options.pop("log_level", "warning"), "text")
    output = LineWriter(1)
    logs.report_hub_errors()
    options["on_listening"] = lambda server: output.write(f"listening on {server.address}")
    server = TcpServer(address, handler, **options) if handler else EchoServer(address, **options)

    def report() -> None:
        gc.collect()
        greenlets = sum(isinstance(found, greenlet.greenlet) and not found.dead for found in gc.get_objects())
        state = {"greenlets": greenlets, "descriptors": len(os.listdir("/proc/self/fd")), "log_dropped": log.dropped}
        output.write(json.dumps(server.counters | state))

    gevent.signal_handler(signal.SIGUSR2, report)
    try:
        return serve(server, output, log)
    finally:
        report()
        output.stop()
        log.close()


if __name__ == "__main__":
    sys.exit(main())
