"""Load-tests a TCP echo server. Run it with `make loadtest` or `locust -f loadtests/locustfile.py`.

`EchoUser` is a `TcpUser` with one task, `self.client.echo(self.next_payload())`.
"""

from geventecho.loadtest import EchoUser

__all__ = ["EchoUser"]
