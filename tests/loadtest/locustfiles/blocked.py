"""EchoUser. The first worker holds its event loop for $BLOCKED seconds of each second."""

from __future__ import annotations

import os
from typing import Any

import gevent
import locust
from gevent import monkey
from locust.env import Environment
from locust.runners import WorkerRunner

from loadtests.locustfile import EchoUser

__all__ = ["EchoUser"]

hold_hub = monkey.get_original("time", "sleep")


@locust.events.test_start.add_listener
def on_test_start(environment: Environment, **_: Any) -> None:
    runner = environment.runner
    if isinstance(runner, WorkerRunner) and runner.worker_index == 0:
        gevent.spawn(block)


def block() -> None:
    seconds = float(os.environ["BLOCKED"])
    while True:
        gevent.sleep(1 - seconds)
        hold_hub(seconds)
