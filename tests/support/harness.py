"""What the scripts of tests/locust_process.py find in their namespace: users in a real Locust Environment."""

from __future__ import annotations

import gc
import os
import time
from argparse import Namespace
from typing import Any

import gevent
import greenlet
import locust
from locust.env import Environment

from geventecho.loadtest import TcpUser, account_of

__all__ = ["BusyUser", "EchoUser", "Run", "gevent", "locust"]


class BusyUser(TcpUser):
    abstract = True
    wait_time = locust.constant(0)


class EchoUser(BusyUser):
    @locust.task
    def echo(self) -> None:
        self.client.echo(self.next_payload())


def sockets() -> int:
    return sum("socket:" in os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if exists(fd))


def exists(fd: str) -> bool:
    return os.path.lexists(f"/proc/self/fd/{fd}")


def greenlets() -> int:
    gc.collect()
    return sum(1 for found in gc.get_objects() if isinstance(found, greenlet.greenlet) and not found.dead)


class Run:
    """Users of one class against a target; `finish` stops them and says what happened.

    Args:
        heard: whether to listen to Locust's `request` event.

    Attributes:
        events: what was fired, as dicts, in order.
    """

    def __init__(
        self,
        user_class: type,
        target: str,
        users: int = 1,
        *,
        stop_timeout: float = 0.0,
        heard: bool = True,
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
        if heard:  # else nobody but Locust listens to its event
            self.environment.events.request.add_listener(self.on_request)
        self.environment.events.user_error.add_listener(lambda exception, **_: self.exceptions.append(repr(exception)))
        self.runner = self.environment.create_local_runner()
        self.runner.start(users, spawn_rate=users)

    def on_request(self, **event: Any) -> None:
        self.events.append(event)

    def wait(self, condition, seconds: float = 10.0) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, (self.rows(), self.environment.stats.errors)
            gevent.sleep(0.005)

    def count(self, name: str, *, failed: bool | None = None) -> int:
        return sum(event["name"] == name and failed in (None, event["exception"] is not None) for event in self.events)

    def rows(self) -> dict[str, list[int]]:
        """Requests and failures of each row, as Locust counted them."""
        return {name: [row.num_requests, row.num_failures] for (name, _), row in self.environment.stats.entries.items()}

    def finish(self) -> dict[str, Any]:
        begun = time.monotonic()
        self.runner.stop()
        stopped = time.monotonic() - begun
        left = sockets()
        self.runner.quit()
        account = account_of(self.environment)
        result = {
            "rows": self.rows(),
            "errors": {f"{e.name}: {e.error!r}": e.occurrences for e in self.environment.stats.errors.values()},
            "account": {name: getattr(account, name) for name in ("started", "ok", "failed", "aborted")},
            "fired": len(self.events),
            "timed_failures": sum(e["exception"] is not None and e["response_time"] is not None for e in self.events),
            "exceptions": self.exceptions,
            "stop_seconds": stopped,
            "sockets_left": left - self.before[0],
            "users_left": self.runner.user_count,
        }
        self.runner = None
        gevent.sleep(0.01)
        result["greenlets_left"] = greenlets() - self.before[1]
        return result
