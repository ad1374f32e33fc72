"""Enters a network of its own; prints its error or null, interfaces, congestion control and if it moved, as JSON."""

from __future__ import annotations

import json
import os
import socket

from bench.network import congestion_control, separate

NAMESPACE = "/proc/self/ns/net"


def main() -> None:
    before = os.readlink(NAMESPACE)
    error = separate()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        names = [name for _, name in socket.if_nameindex()]
    print(json.dumps([error, names, congestion_control(), os.readlink(NAMESPACE) != before]))


if __name__ == "__main__":
    main()
