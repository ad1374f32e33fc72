"""The Locust user that everybody writes for a TCP service: a socket, a clock, and an event for each request."""

from __future__ import annotations

import os
import socket
import time

from locust import User, constant, task

PAYLOAD = os.urandom(int(os.environ["BENCH_PAYLOAD"]))


class SocketUser(User):
    wait_time = constant(float(os.environ["BENCH_THINK_TIME"]))

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
