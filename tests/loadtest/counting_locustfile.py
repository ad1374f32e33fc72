"""EchoUser, and each process writes down what it fired, so that a test can compare it with what was counted."""

import json
import os
from pathlib import Path

import locust

from geventecho.loadtest import account_of
from loadtests.locustfile import EchoUser

__all__ = ["EchoUser"]

DIRECTORY = Path(os.environ["FIRED"])


def save(name, value):
    """In one stroke: a test may be reading it."""
    path = DIRECTORY / f".{os.getpid()}"
    path.write_text(json.dumps(value))
    path.rename(DIRECTORY / name)


@locust.events.init.add_listener
def on_init(environment, runner, **_):
    fired = {"ok": 0, "failed": 0, "tests": 0}

    def on_request(exception, **_):
        fired["failed" if exception else "ok"] += 1

    def on_test_start(**_):
        fired.update(ok=0, failed=0, tests=fired["tests"] + 1)
        write()

    def write(**_):
        account = account_of(environment)
        names = ("started", "ok", "failed", "aborted")
        save(f"fired-{os.getpid()}.json", fired | {"account": {name: getattr(account, name) for name in names}})

    def count(**_):
        total = environment.stats.total
        save("counted.json", {"requests": total.num_requests, "failures": total.num_failures})

    if not isinstance(runner, locust.runners.MasterRunner):
        environment.events.request.add_listener(on_request)
        environment.events.test_start.add_listener(on_test_start)
        environment.events.test_stop.add_listener(write)
        environment.events.quit.add_listener(write)
    if not isinstance(runner, locust.runners.WorkerRunner):
        environment.events.test_stop.add_listener(count)
        environment.events.quit.add_listener(count)
