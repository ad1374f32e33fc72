"""Load-tests a TCP echo server. `make loadtest` runs it; so does `locust -f loadtests/locustfile.py`."""

from locust import task

from geventecho.loadtest import TcpUser


class EchoUser(TcpUser):
    """One client: connects, then sends a payload, checks every byte that comes back, waits, and so on."""

    host = "tcp://127.0.0.1:8090"

    @task
    def echo(self) -> None:
        self.client.echo(self.next_payload())
