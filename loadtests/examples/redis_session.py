"""A Redis session with a login, requests, a pipeline, a transaction and a custom framing.

    locust -f loadtests/examples/redis_session.py --web-host 127.0.0.1 --host tcp://127.0.0.1:6379

It writes the key `geventecho:counter` and one key for each user. The keys expire after a minute.
"""

from locust import between, task

from geventecho import Until
from geventecho.framing import Framing, Parser
from geventecho.loadtest import Request, TcpUser

LINE = Until(b"\r\n")


class BulkString(Framing):
    r"""Replies such as ``$5\r\nhello\r\n``, or ``$-1\r\n`` if there is no such key."""

    def parser(self) -> Parser:
        head = b""

        def parse(chunk: bytes) -> int | None:
            nonlocal head
            seen = len(head)
            head += chunk
            end = head.find(b"\r\n")
            if end < 0:
                return None
            length = int(head[1:end])  # a ValueError is the failure "wrong reply"
            return end + 2 + (length + 2 if length >= 0 else 0) - seen

        return parse


class RedisUser(TcpUser):
    host = "tcp://127.0.0.1:6379"
    wait_time = between(0.05, 0.15)

    def on_connect(self) -> None:
        name = b"CLIENT SETNAME user-%d\r\n" % self.number
        self.client.request(name, reply=LINE, name="login", expect=b"+OK\r\n")

    @task(10)
    def set_and_get(self) -> None:
        key = b"geventecho:user-%d" % self.number
        with self.client.transaction("set and get"):
            self.client.request(b"SET %b hello EX 60\r\n" % key, reply=LINE, name="SET", expect=b"+OK\r\n")
            self.client.request(b"GET %b\r\n" % key, reply=BulkString(), name="GET", expect=b"$5\r\nhello\r\n")

    @task(5)
    def count(self) -> None:
        with self.client.request(b"INCR geventecho:counter\r\n", LINE, name="INCR", catch_response=True) as reply:
            if reply.error is None and not reply.data.startswith(b":"):
                reply.failure("not a number")
        self.client.request(b"EXPIRE geventecho:counter 60\r\n", reply=LINE, name="EXPIRE", expect=b":1\r\n")

    @task(5)
    def many_at_once(self) -> None:
        ping = Request(b"PING\r\n", reply=LINE, name="PING", expect=b"+PONG\r\n")
        self.client.pipeline([ping] * 20, depth=5)
