"""A class with the defaults, and one with settings of its own."""

from __future__ import annotations

import locust

from geventecho.loadtest import TcpUser


class Plain(TcpUser):
    host = "127.0.0.1:1"

    @locust.task
    def echo(self) -> None:
        self.client.echo(self.next_payload(), name=type(self).__name__)


class Own(Plain):
    payload_size = 64
    think_time = 0.02
    connect_timeout = 2
    request_timeout = None
