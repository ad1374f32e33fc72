"""One TcpUser under locust.run_single_user, which fires `init` without a runner and without user classes."""

from __future__ import annotations

import sys

import locust
from locust.exception import StopUser

from geventecho.loadtest import TcpUser

target = sys.argv.pop()


class User(TcpUser):
    host = target
    wait_time = locust.constant(0)

    @locust.task
    def echo(self) -> None:
        self.client.echo(self.next_payload())
        self.client.echo(self.next_payload(), name="second")
        raise StopUser

    def on_stop(self) -> None:
        print("stopped")


locust.run_single_user(User)
