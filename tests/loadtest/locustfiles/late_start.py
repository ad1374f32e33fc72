"""Users whose start takes longer than the test."""

from __future__ import annotations

import gevent

from loadtests.locustfile import EchoUser


class Late(EchoUser):
    def on_start(self) -> None:
        gevent.sleep(60)
