"""Two requests under way on a connection, the second one 0.01 s after the first."""

from __future__ import annotations

import gevent
import locust

from geventecho.framing import Exactly
from geventecho.loadtest import TcpUser


class TwoAtOnce(TcpUser):
    think_time = 0.0

    @locust.task
    def pair(self) -> None:
        payload = self.next_payload()
        self.client.send(payload, name="first")
        gevent.sleep(0.01)
        self.client.request(payload, Exactly(2 * len(payload)), name="pair")
