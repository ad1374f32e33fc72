"""Scripts of test_leaving.py."""

from __future__ import annotations

import contextlib
import gc
from typing import Any

import gevent
import locust
from locust.env import Environment
from locust.exception import StopUser

from geventecho.client import Client
from geventecho.framing import Exactly
from geventecho.loadtest import Request, TcpSession, TcpUser, account_of, install
from geventecho.loadtest.users import spawning
from tests.support.timing import UNIT, wait_until


class PausingUser(TcpUser):
    """Pauses nearly all the time."""

    think_time = UNIT

    @locust.task
    def echo(self) -> None:
        self.client.echo(self.next_payload())


class WaitingUser(TcpUser):
    """Waits for a reply when it is stopped."""

    @locust.task
    def wait_for_a_reply(self) -> None:
        self.client.receive(Exactly(1))


class FailingUser(PausingUser):
    """Gets an unexpected reply each time."""

    @locust.task
    def fail(self) -> None:
        self.client.request(b"x", Exactly(1), expect=b"y")


class ThoroughUser(PausingUser):
    """Uses the other methods of the session, and adds to the context."""

    def context(self) -> dict[str, Any]:
        return {"user": self.number}

    def on_connect(self) -> None:
        self.client.request(b"login", Exactly(5))

    @locust.task
    def everything(self) -> None:
        with self.client.transaction("all"):
            self.client.pipeline([Request(b"ab", Exactly(2)) for _ in range(4)], depth=2)
            with self.client.request(b"x", Exactly(1), catch_response=True) as caught:
                caught.failure("it is to fail")


class StoppingUser(PausingUser):
    """Stops by itself."""

    @locust.task
    def leave(self) -> None:
        self.client.echo(b"x")
        raise StopUser


class Helper:
    """Has a reference to its user."""

    def __init__(self, user: TcpUser) -> None:
        self.user = user


class HelpedUser(PausingUser):
    """Is in a cycle of references."""

    def on_start(self) -> None:
        self.helper = Helper(self)
        super().on_start()


class Leaving:
    """Users of one class that come and go while two stay."""

    def __init__(self, target: str, user_class: type[TcpUser]) -> None:
        self.environment = Environment(user_classes=[user_class], host=target)
        self.runner = self.environment.create_local_runner()
        install(self.environment)
        self.move(2)

    def move(self, users: int) -> None:
        """Start or stop users until `users` run, and each new user has connected."""
        account = account_of(self.environment)
        self.runner.start(users, spawn_rate=100)
        begun = account.users
        wait_until(lambda: self.runner.state == "running")
        wait_until(lambda: self.runner.user_count in (users, 0) and account.connected >= account.users >= begun)


def alive() -> int:
    """Users, sessions and connections in memory."""
    return sum(isinstance(found, TcpUser | TcpSession | Client) for found in gc.get_objects())


def without_the_collector(target: str, kind: str) -> list[int]:
    """The numbers of users, sessions and connections in memory before and after 8 users came and went."""
    leaving = Leaving(target, globals()[kind])
    gc.collect()
    gc.disable()
    found = [alive()]
    for _ in range(2):
        leaving.move(6)
        gevent.sleep(UNIT)  # all users are in their tasks or pauses
        leaving.move(2)
    with contextlib.suppress(AssertionError):  # some users of StoppingUser may not have stopped yet
        wait_until(lambda: alive() <= found[0], 20 * UNIT)
    return [*found, alive()]


def with_cycles(target: str) -> dict[str, Any]:
    """The collector's passes, and the objects in memory, of users that only it can free. Here 20 users are many."""
    spawning.MANY_USERS = 20  # type: ignore[misc]
    passes = [0, 0, 0]
    before = gc.get_threshold()
    leaving = Leaving(target, HelpedUser)
    gc.callbacks.append(lambda phase, info: add(passes, info["generation"], phase == "stop"))
    leaving.move(30)
    frozen, few = gc.get_freeze_count(), alive()
    kept: list[list[object]] = []
    kept.extend([] for _ in range(200_000))
    at_rest = passes[2]
    most = 0
    for _ in range(6):
        leaving.move(60)
        leaving.move(30)
        most = max(most, alive())
    busy = passes[2] - at_rest
    leaving.runner.quit()
    return {
        "passes": [at_rest, busy], "alive": [few, most], "frozen": gc.get_freeze_count() - frozen,
        "thresholds": gc.get_threshold() == before,
    }  # fmt: skip


def add(passes: list[int], generation: int, count: int) -> None:
    passes[generation] += count
