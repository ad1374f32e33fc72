"""EchoUser: load-tests an echo server. As a locustfile this module is the test of `geventecho load`."""

from __future__ import annotations

from locust import task

from geventecho.loadtest.users.tcp_user import TcpUser

__all__ = ["EchoUser"]


class EchoUser(TcpUser):
    """One client: connects, then sends a payload, checks every byte that comes back, waits, and so on."""

    host = "tcp://127.0.0.1:8090"

    @task
    def echo(self) -> None:
        """Send a payload, and check the echo."""
        self.client.echo(self.next_payload())
