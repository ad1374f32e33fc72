"""Users in a real Locust Environment, and their results: for the functions in tests/loadtest/scripts."""

from __future__ import annotations

import gc
import os
import sys
import time
from argparse import Namespace
from collections.abc import Callable
from typing import Any

import gevent
import greenlet
import locust
from locust.env import Environment
from locust.runners import LocalRunner
from locust.stats import StatsError

from geventecho.framing import Until
from geventecho.loadtest import TcpUser, account_of, install
from tests.support.timing import PATIENCE, UNIT

SAMPLE = ", first seen: "
"""The words before the wrong reply in the text of a failure."""


class BusyUser(TcpUser):
    """Never pauses between two tasks."""

    abstract = True
    wait_time = locust.constant(0)


class EchoUser(BusyUser):
    """Sends a payload and expects it back, again and again."""

    @locust.task
    def echo(self) -> None:
        self.client.echo(self.next_payload())


class LoginUser(BusyUser):
    """Logs in after each connect; see line_protocol.py."""

    abstract = True

    def on_connect(self) -> None:
        self.client.request(b"LOGIN\r\n", Until(b"\r\n"), name="login", expect=b"+LOGIN\r\n")


def sockets() -> int:
    """Sockets that this process has open."""
    return sum("socket:" in os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if exists(fd))


def exists(fd: str) -> bool:
    """Whether the descriptor is still open: `listdir` also lists its own."""
    return os.path.lexists(f"/proc/self/fd/{fd}")


def greenlets() -> int:
    """Greenlets of this process that have not ended."""
    gc.unfreeze()  # `install` hides the existing objects from the collector
    gc.collect()
    return sum(1 for found in gc.get_objects() if isinstance(found, greenlet.greenlet) and not found.dead)


class Run:
    """Users of one class against a target; `finish` stops them and returns their counts.

    Args:
        listen: whether to listen to Locust's `request` event.

    Attributes:
        events: the events that were fired, as dicts, in order.
    """

    def __init__(
        self,
        user_class: type[locust.User],
        target: str,
        users: int = 1,
        *,
        stop_timeout: float = 0.0,
        listen: bool = True,
        **options: Any,
    ) -> None:
        gevent.get_hub().threadpool  # noqa: B018  (made once, not a leak)
        self.events: list[dict[str, Any]] = []
        self.exceptions: list[str] = []
        self.before = (sockets(), greenlets())
        settings = {f"tcp_{name}": value for name, value in {"think_time": 0.0, **options}.items()}
        self.environment = Environment(
            user_classes=[user_class],
            host=target,
            stop_timeout=stop_timeout,
            parsed_options=Namespace(headless=True, **settings),
        )
        if listen:  # else only Locust listens to its event
            self.environment.events.request.add_listener(self.on_request)
        self.environment.events.user_error.add_listener(lambda exception, **_: self.exceptions.append(repr(exception)))
        self.runner: LocalRunner = self.environment.create_local_runner()
        if "arrival_rate" in options:
            install(self.environment)
        self.runner.start(users, spawn_rate=users)

    def on_request(self, **event: Any) -> None:
        self.events.append(event)

    def wait(self, condition: Callable[[], object], seconds: float = 10.0) -> None:
        """Wait until the condition holds.

        Raises:
            AssertionError: it did not hold within `seconds`.
        """
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.rows(), self.environment.stats.errors)
            gevent.sleep(0.005)

    def count(self, name: str, *, failed: bool | None = None) -> int:
        """The number of events of that name: all, or only failed or only good ones."""
        return sum(event["name"] == name and failed in (None, event["exception"] is not None) for event in self.events)

    def rows(self) -> dict[str, list[int]]:
        """Requests and failures of each row, as Locust counted them."""
        return {name: [row.num_requests, row.num_failures] for (name, _), row in self.environment.stats.entries.items()}

    def finish(self) -> dict[str, Any]:
        """Stop the users; returns the counts, and the resources that were left behind."""
        begun = time.monotonic()
        self.runner.stop()
        stopped = time.monotonic() - begun
        left = sockets()
        self.runner.quit()
        account = account_of(self.environment)
        errors = {f"{e.name}: {StatsError.parse_error(e.error)}": e for e in self.environment.stats.errors.values()}
        result = {
            "rows": self.rows(),
            "errors": {text.split(SAMPLE)[0]: error.occurrences for text, error in errors.items()},
            "samples": [text for text in errors if SAMPLE in text],
            "account": {name: getattr(account, name) for name in ("started", "ok", "failed", "aborted")},
            "connections": {name: getattr(account, name) for name in ("connected", "open", "opening", "lost")},
            "fired": len(self.events),
            "timed_failures": sum(e["exception"] is not None and e["response_time"] is not None for e in self.events),
            "exceptions": self.exceptions,
            "stop_seconds": stopped,
            "sockets_left": left - self.before[0],
            "users_left": self.runner.user_count,
        }
        del self.runner
        with gevent.Timeout(PATIENCE, False):  # a greenlet may still be ending the test
            while greenlets() > self.before[1]:
                gevent.sleep(0.01)
        result["greenlets_left"] = greenlets() - self.before[1]
        return result


def run_task(
    task: Callable[[Any], object],
    target: str,
    until: Callable[[Run], object],
    *,
    users: int = 2,
    base: type[TcpUser] = BusyUser,
) -> dict[str, Any]:
    """Run users of `base` with this one task until `until` is true for their `Run`; returns its result."""
    run = Run(task_user(task, base), target, users, request_timeout=10 * UNIT)
    run.wait(lambda: until(run))
    return run.finish()


def task_user(task: Callable[[Any], object], base: type[TcpUser] = BusyUser) -> type[TcpUser]:
    """A class of users with this one task that reconnect soon."""
    return type("User", (base,), {"tasks": [task], "backoff_base": 0.01})


def count_sleeps() -> list[float]:
    """From now on record the sleeps of users between their tasks, in seconds."""
    sleeps: list[float] = []
    original = gevent.sleep
    loops = ("/task_loop.py", "/locust_internals.py", "/locust/user/task.py")

    def count(seconds: float = 0, ref: bool = True) -> None:
        if sys._getframe(1).f_code.co_filename.endswith(loops):
            sleeps.append(seconds)
        original(seconds, ref)

    gevent.sleep = count
    return sleeps
