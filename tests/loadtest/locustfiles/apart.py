"""The users of worker N have the N-th target of $TARGETS. Each worker writes its response times, in ns."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import locust
from locust.env import Environment

from loadtests.locustfile import EchoUser

__all__ = ["Apart"]

times: list[int] = []


class Apart(EchoUser):
    def __init__(self, environment: Environment) -> None:
        index = getattr(environment.runner, "worker_index", 0)
        self.host = json.loads(os.environ["TARGETS"])[index]
        super().__init__(environment)


@locust.events.request.add_listener
def on_request(name: str, response_time: float, **_: Any) -> None:
    if name == "echo":
        times.append(round(response_time * 1e6))


@locust.events.test_stop.add_listener
def on_test_stop(**_: Any) -> None:
    if times:
        Path(os.environ["FIRED"], f"times-{os.getpid()}.json").write_text(json.dumps(times))
