"""EchoUser: load-tests an echo server. `geventecho load` uses this module as its locustfile."""

from __future__ import annotations

from locust import task

from geventecho.loadtest.users.tcp_user import TcpUser

__all__ = ["EchoUser"]


class EchoUser(TcpUser):
    """A client that connects, then repeatedly sends a payload, checks every byte of the echo and waits."""

    host = "tcp://127.0.0.1:8090"

    @task
    def echo(self) -> None:
        """Send a payload, and check the echo."""
        self.client.echo(self.next_payload())
