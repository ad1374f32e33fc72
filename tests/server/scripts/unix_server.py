"""Starts and stops servers on Unix sockets by lines of standard input: a path starts one, an empty line stops it."""

from __future__ import annotations

import sys

from geventecho.errors import ListenError
from geventecho.server.tcp_server import EchoServer


def main() -> None:
    print("ready", flush=True)
    server = None
    for line in sys.stdin:
        path = line.strip()
        if path:
            server = EchoServer(f"unix:{path}")
            try:
                server.start()
                print("listening", flush=True)
            except ListenError as error:
                print(error, flush=True)
        elif server is not None:
            server.stop()
            print("stopped", flush=True)


if __name__ == "__main__":
    main()
