"""Forks while a message is in the pipe: the child has a pipe of its own, and the parent keeps the message."""

from __future__ import annotations

import os

from gevent import socket

from geventecho.server.splice import Pipe


def main() -> None:
    pipe, buffer = Pipe(), memoryview(bytearray(64))
    client, server = socket.socketpair()
    with client, server:
        passage = pipe.enter(server)
        client.sendall(b"in the middle of a turn")
        size, inherited = passage.recv_into(buffer), (pipe.inlet, pipe.outlet)
        child = os.fork()
        if not child:
            still_open = [descriptor for descriptor in inherited if os.path.exists(f"/proc/self/fd/{descriptor}")]
            pipe.enter(server)
            os._exit(len(still_open) if pipe.inlet >= 0 else 3)
        assert os.waitpid(child, 0)[1] == 0
        assert passage.send(buffer[:size]) == size
        print(client.recv(64).decode())


if __name__ == "__main__":
    main()
