"""An echo server that answers with zeros."""

from __future__ import annotations

import socket


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    print(f":{listener.getsockname()[1]}", flush=True)
    while True:
        connection, _ = listener.accept()
        connection.sendall(bytes(len(connection.recv(9999))))


if __name__ == "__main__":
    main()
