"""Two workers whose handler holds the event loop or ends the process when a client asks for it."""

from __future__ import annotations

import hashlib
import os
import signal
import sys
from collections.abc import Sequence
from functools import partial

from gevent import socket

from geventecho.address import Address, SockAddr
from geventecho.server import Counters, ServerConfig, TcpServer
from geventecho.service import LineWriter, Plan, Service, configure_logs, serve_with_workers

_reads = 0


def handle(sock: socket.socket, _sockaddr: SockAddr) -> None:
    order = sock.recv(100).decode()
    if order == "spin":
        while True:
            pass
    elif order == "compute":
        hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 1 << 30)
    elif order == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    sock.sendall(order.encode())


def make(config: ServerConfig, listeners: list[Address], counters: Counters) -> TcpServer:
    if "broken" in sys.argv or _reads > 0:
        raise RuntimeError("this worker cannot start")
    return TcpServer(listeners, handle, config=config, counters=counters)


def main() -> int:
    """With "broken" no worker can start, with "broken-later" none after a reload."""

    def reload() -> Plan:
        global _reads
        _reads += "broken-later" in sys.argv
        return Plan(2, config, partial(make, config))

    output, log = LineWriter(1), configure_logs("warning", "text")
    config = ServerConfig()

    def announce(addresses: Sequence[Address], _workers: int, _each: int) -> None:
        output.write(f"listening on {addresses[0]}")

    plan = Plan(2, config, partial(make, config))
    try:
        service = Service(output, log, on_bound=lambda _: None, on_listening=announce)
        return serve_with_workers([Address.parse("127.0.0.1:0")], plan, service, scheme="tcp", reload=reload)
    finally:
        output.stop()
        log.close()


if __name__ == "__main__":
    sys.exit(main())
