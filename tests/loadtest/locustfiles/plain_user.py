"""Users of plain Locust, without this package: each user fires an event every 0.1 seconds."""

from __future__ import annotations

import locust


class EchoUser(locust.User):
    wait_time = locust.constant(0.1)

    @locust.task
    def fire(self) -> None:
        self.environment.events.request.fire(
            request_type="PLAIN", name="fire", response_time=1, response_length=0, exception=None, context={}
        )
