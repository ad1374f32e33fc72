"""Scripts of test_pipelines.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from itertools import count
from typing import Any

import gevent
import locust
import pytest

from geventecho.client import connect
from geventecho.framing import Exactly, Framing, LengthPrefixed, NoReply, Until
from geventecho.loadtest import Failed, Request, TcpUser, account_of
from tests.support.harness import BusyUser, LoginUser, run_task
from tests.support.timing import UNIT, wait_until

LINE = Until(b"\r\n")
FRAMINGS: dict[str, Framing] = {
    "exactly": Exactly(8),
    "until": Until(b"\n"),
    "length": LengthPrefixed(">I"),
    "none": NoReply(),
}


def pings(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        requests = [Request(b"PING\r\n", LINE, name="ping", expect=b"+PONG\r\n") for _ in range(50)]
        assert user.client.pipeline(iter(requests), depth=8) == [b"+PONG\r\n"] * 50

    return run_task(act, target, lambda run: run.count("ping") >= 500, base=LoginUser)


def megabytes(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        requests = [Request(bytes(1 << 20), Exactly(1 << 20), name="big") for _ in range(30)]
        assert len(user.client.pipeline(requests, depth=30)) == 30

    return run_task(act, target, lambda run: run.count("big") >= 30, users=1)


def in_fours(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        digits = [b"%d" % (number % 10) for number in range(20)]
        assert user.client.pipeline([Request(digit, Exactly(1)) for digit in digits], depth=4) == digits

    return run_task(act, target, lambda run: run.count("request") >= 60, users=1)


def lost(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        user.client.pipeline([Request(b"0123456789", Exactly(10))] * 20, depth=5)

    return run_task(act, target, lambda run: run.count("connect") >= 4, users=1)


def unexpected_reply(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        ping, unknown = (
            Request(text, LINE, name="line", expect=b"+PONG\r\n") for text in (b"PING\r\n", b"WHAT\r\n")
        )  # fmt: skip
        with pytest.raises(Failed, match="unexpected reply"):
            user.client.pipeline([ping, unknown, ping, ping, ping], depth=3)
        assert not user.client.connected

    return run_task(act, target, lambda run: run.count("line", failed=True) >= 30, users=1, base=LoginUser)


def numbered(target: str, framing: str, depth: int) -> dict[str, Any]:
    """Pipelines of 20 requests, each 8 bytes long with a number of its own, until five requests have failed."""
    numbers = count()

    def act(user: TcpUser) -> None:
        requests = (Request(b"x%06d\n" % next(numbers), FRAMINGS[framing]) for _ in range(20))
        user.client.pipeline(requests, depth=depth)

    return run_task(act, target, lambda run: run.count("request", failed=True) >= 5)


def after_a_surplus_reply(target: str, operation: str) -> dict[str, Any]:
    """Another operation after a pipeline and a surplus reply."""

    def act(user: TcpUser) -> None:
        client = user.client
        client.pipeline([Request(b"x000000\n", LINE)] * 2, depth=2)
        connection = client._client
        assert connection is not None
        with connect(target) as signal:
            signal.send(b"now")
        wait_until(lambda: connection._wire.poll(0))
        if operation == "pipeline":
            client.pipeline([Request(b"x000000\n", LINE, name="then")], depth=1)
        elif operation == "echo":
            client.echo(b"x", name="then")
        elif operation == "request":
            client.request(b"x000000\n", LINE, name="then")
        else:
            assert client.receive(LINE, name="then") == b"surplus\r\n"
            client.close()

    return run_task(act, target, lambda run: run.count("then") >= 3, users=1)


def early_replies(target: str, depth: int) -> dict[str, Any]:
    """Requests so large that their replies come while they are still written."""

    def act(user: TcpUser) -> None:
        user.client.pipeline([Request(bytes(1 << 20), Exactly(8))] * 10, depth=depth)

    return run_task(act, target, lambda run: run.count("request") >= 10, users=1)


def never_taken(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        user.client.pipeline([Request(bytes(32 << 20), NoReply())] * 5, depth=3, timeout=UNIT)

    return run_task(act, target, lambda run: run.count("request") >= 2, users=1)


def stopped(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        user.client.pipeline([Request(b"x", Exactly(1))] * 20, depth=5, timeout=60)

    return run_task(act, target, lambda run: account_of(run.environment).started == 2 * (1 + 5))


def stopped_beside_a_mistake(target: str) -> dict[str, Any]:
    """The user is killed after the sender's error, and before the user gets this error."""

    def act(user: TcpUser) -> None:
        own = gevent.getcurrent()

        def make(number: int) -> Request:
            gevent.kill(own)  # effective once the hub runs
            raise KeyError("a mistake")

        user.client.pipeline(map(make, range(1)), depth=1)

    return run_task(act, target, lambda run: run.count("connect") and not run.runner.user_greenlets, users=1)


def wrong_payload(target: str) -> dict[str, Any]:
    """Nothing but the error itself ends the second request: there is no timeout."""

    def act(user: TcpUser) -> None:
        wrong = Request("x", Exactly(1), name="wrong")  # type: ignore[arg-type]
        user.client.pipeline([Request(b"x", Exactly(1)), wrong], depth=2, timeout=None)

    logging.getLogger("locust.user.task").disabled = True
    return run_task(act, target, lambda run: len(run.exceptions) >= 3, users=1)


def not_a_request(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        user.client.pipeline([Request(b"x", Exactly(1)), b"x"], depth=2)  # type: ignore[list-item]

    logging.getLogger("locust.user.task").disabled = True
    return run_task(act, target, lambda run: len(run.exceptions) >= 3, users=1)


def mistake(target: str) -> dict[str, Any]:
    class Slow(BusyUser):
        abstract = True
        wait_time = locust.constant(0.05)

    def requests() -> Iterator[Request]:
        yield Request(b"x", Exactly(1))
        raise KeyError("a mistake")

    def act(user: TcpUser) -> None:
        user.client.pipeline(requests(), depth=3)

    logging.getLogger("locust.user.task").disabled = True
    return run_task(act, target, lambda run: len(run.exceptions) >= 3, users=1, base=Slow)
