"""A client that pools connections: many greenlets share a few, and a broken connection is replaced."""

from collections.abc import Iterator
from contextlib import contextmanager

from gevent import joinall, queue, spawn

from geventecho import Client, EchoServer, NetworkError, connect


class ConnectionPool:
    def __init__(self, target: str, size: int) -> None:
        self.free = queue.LifoQueue(None, [connect(target) for _ in range(size)])

    @contextmanager
    def client(self) -> Iterator[Client]:
        client = self.free.get()  # waits while all are in use
        try:
            try:
                client.check_idle()
            except NetworkError:  # the server closed it, or its last exchange failed
                client.close()
                client = connect(client.target)
            yield client
        finally:
            self.free.put(client)


with EchoServer("127.0.0.1:0") as server:
    pool = ConnectionPool(str(server.address), size=3)

    def ask(number: int) -> None:
        with pool.client() as client:
            client.echo(b"request %d" % number)

    joinall([spawn(ask, number) for number in range(100)], raise_error=True)
    print("100 requests over", server.connection_count, "connections")
    for _ in range(3):
        pool.free.get().close()
