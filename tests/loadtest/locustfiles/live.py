"""EchoUser of counting.py. The result of `live_json` is written to $FIRED/live.json every 0.2 seconds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import gevent
import locust
from locust.env import Environment
from locust.runners import WorkerRunner

from geventecho.loadtest.run import live_json
from tests.loadtest.locustfiles.counting import EchoUser

__all__ = ["EchoUser"]

PATH = Path(os.environ["FIRED"], "live.json")


def write(environment: Environment) -> None:
    while True:
        beside = PATH.with_suffix(".new")
        beside.write_bytes(live_json(environment))
        beside.replace(PATH)
        gevent.sleep(0.2)


@locust.events.init.add_listener
def on_init(environment: Environment, runner: Any, **_: Any) -> None:
    if not isinstance(runner, WorkerRunner):
        gevent.spawn(write, environment)
