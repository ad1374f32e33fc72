"""Users whose operations have 18 names, so that with connect and the tasks there are 20 rows."""

from __future__ import annotations

from itertools import cycle

import locust

from geventecho.loadtest import TcpUser

NAMES = cycle([f"operation {number}" for number in range(18)])


class ManyRows(TcpUser):
    """Echoes under one name after the other."""

    @locust.task
    def echo(self) -> None:
        """Echo a payload under the next name."""
        self.client.echo(self.next_payload(), name=next(NAMES))
