"""A class of plain Locust beside a `TcpUser`. A run with one user has no `TcpUser`."""

from __future__ import annotations

import locust

from geventecho.loadtest import TcpUser
from tests.loadtest.locustfiles import plain_user


class Plain(plain_user.EchoUser):
    fixed_count = 1


class Tcp(TcpUser):
    host = "127.0.0.1:1"

    @locust.task
    def echo(self) -> None:
        self.client.echo(self.next_payload())
