"""The usual Locust user for a TCP service: a socket, a clock, and an event for each request.

It follows Locust's documentation for other systems (a client that times a call and fires `request`) and the users in
Locust's issues 1609 and 2374, in their best form: it keeps the connection, reads the reply to its end, and compares it.
Examples often make a connection for each request, or take the bytes of the first recv for the reply.

It is neither slowed nor tuned. The timeout stays on the socket, since a load test without one hangs with its server
(gevent starts a timer for each call that has to wait). The payload is the same each time, which is cheaper than the
payloads of EchoUser. The event has no more fields than Locust's own statistics need.

$BENCH_WAIT is the function of Locust that makes the wait times: `constant`, or `constant_pacing`, which is Locust's
nearest equivalent of a rate of arrivals.
"""

from __future__ import annotations

import os
import socket
import time

import locust
from locust import User, task

PAYLOAD = os.urandom(int(os.environ["BENCH_PAYLOAD"]))


class SocketUser(User):
    wait_time = getattr(locust, os.environ.get("BENCH_WAIT", "constant"))(float(os.environ["BENCH_THINK_TIME"]))

    def on_start(self) -> None:
        host, _, port = str(self.host).rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=5)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def on_stop(self) -> None:
        self.socket.close()

    @task
    def echo(self) -> None:
        exception = None
        reply = b""
        start = time.perf_counter()
        try:
            self.socket.sendall(PAYLOAD)
            while len(reply) < len(PAYLOAD):
                chunk = self.socket.recv(65536)
                if not chunk:
                    raise ConnectionError("the server ended the connection")
                reply += chunk
            if reply != PAYLOAD:
                raise ValueError("the reply differs")
        except Exception as error:
            exception = error
        self.environment.events.request.fire(
            request_type="TCP",
            name="echo",
            response_time=(time.perf_counter() - start) * 1000,
            response_length=len(reply),
            exception=exception,
            context={},
        )
