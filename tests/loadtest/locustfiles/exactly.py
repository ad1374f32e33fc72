"""A user that sends $EXACTLY echoes and ends the test."""

from __future__ import annotations

import os

import gevent
import locust
from locust.exception import StopUser

from geventecho.loadtest import TcpUser


class Exactly(TcpUser):
    think_time = 0.0

    @locust.task
    def echo(self) -> None:
        for _ in range(int(os.environ["EXACTLY"])):
            self.client.echo(self.next_payload())
        assert self.environment.runner is not None
        gevent.spawn(self.environment.runner.quit)
        raise StopUser
