"""EchoUser. Each process writes the number of its fired events, so that a test can compare it with the counts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import locust
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from geventecho.loadtest import account_of
from loadtests.locustfile import EchoUser

__all__ = ["EchoUser"]

DIRECTORY = Path(os.environ["FIRED"])


def save(name: str, value: dict[str, Any]) -> None:
    """Write the file atomically: a test may be reading it."""
    path = DIRECTORY / f".{os.getpid()}"
    path.write_text(json.dumps(value))
    path.rename(DIRECTORY / name)


@locust.events.init.add_listener
def on_init(environment: Environment, runner: Runner, **_: Any) -> None:
    fired = {"ok": 0, "failed": 0, "tests": 0}

    def on_request(exception: BaseException | None, **_: Any) -> None:
        fired["failed" if exception else "ok"] += 1

    def on_test_start(**_: Any) -> None:
        fired.update(ok=0, failed=0, tests=fired["tests"] + 1)
        write()

    def write(**_: Any) -> None:
        account = account_of(environment)
        names = ("started", "ok", "failed", "aborted")
        save(f"fired-{os.getpid()}.json", fired | {"account": {name: getattr(account, name) for name in names}})

    def count(**_: Any) -> None:
        total = environment.stats.total
        save("counted.json", {"requests": total.num_requests, "failures": total.num_failures})

    if not isinstance(runner, MasterRunner):
        environment.events.request.add_listener(on_request)
        environment.events.test_start.add_listener(on_test_start)
        environment.events.test_stop.add_listener(write)
        environment.events.quit.add_listener(write)
    if not isinstance(runner, WorkerRunner):
        environment.events.test_stop.add_listener(count)
        environment.events.quit.add_listener(count)
