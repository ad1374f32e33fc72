"""Scripts of test_requests.py."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from unittest import TestCase

import gevent
from locust.exception import RescheduleTask

from geventecho.errors import UnexpectedReply
from geventecho.framing import Exactly, Until, UntilClosed
from geventecho.loadtest import Failed, Request, TcpUser
from geventecho.loadtest.measure.samples import show_sample
from tests.support.harness import BusyUser, LoginUser, run_task

LINE = Until(b"\r\n")


def reply_is_checked(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        request = user.client.request
        assert request(b"PING\r\n", LINE, name="bytes", expect=b"+PONG\r\n") == b"+PONG\r\n"
        request(b"PING\r\n", reply=LINE, name="pattern", expect=re.compile(rb"^\+PO"))
        request(b"PING\r\n", reply=LINE, name="predicate", expect=lambda reply: len(reply) == 7)
        request(b"PING\r\n", reply=Exactly(7), name="exactly")
        request(b"WHAT\r\n", reply=LINE, name="wrong", expect=b"+PONG\r\n")
        raise AssertionError("a failure ends the task")

    return run_task(act, target, lambda run: run.count("wrong") >= 10, base=LoginUser)


def login_follows_every_connect(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        user.client.request(b"PING\r\n", LINE, name="ping", expect=b"+PONG\r\n")
        gevent.sleep(0.02)

    return run_task(act, target, lambda run: run.count("connect") >= 8, base=LoginUser)


def ping(user: TcpUser) -> None:
    user.client.request(b"PING\r\n", LINE)


def login_is_refused(target: str) -> dict[str, Any]:
    class Refused(BusyUser):
        abstract = True

        def on_connect(self) -> None:
            self.client.request(b"NO\r\n", LINE, name="login", expect=b"+")

    return run_task(ping, target, lambda run: run.count("connect") >= 6, base=Refused)


def login_raises(target: str) -> dict[str, Any]:
    class Raising(BusyUser):
        abstract = True

        def on_connect(self) -> None:
            raise ValueError("no such user")

    return run_task(ping, target, lambda run: run.count("connect") >= 6, base=Raising)


def catch_response(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        def request(name: str, expect: bytes | None = None) -> Any:
            return user.client.request(b"PING\r\n", LINE, name=name, expect=expect, catch_response=True)

        with request("plain") as caught:
            assert caught.data == b"+PONG\r\n"
            assert caught.error is None
        with request("judged") as caught:
            caught.failure("too slow")
        with request("forgiven", expect=b"x") as caught:
            assert caught.error.kind == "unexpected reply"
            caught.success()
        with request("unforgiven", expect=b"x"):
            pass
        try:
            with request("broken"):
                raise KeyError("a mistake")
        except KeyError:
            pass
        try:
            with request("left"):
                raise RescheduleTask
        except RescheduleTask:
            pass
        request("never entered")

    return run_task(act, target, lambda run: run.count("left") >= 5, users=1, base=LoginUser)


def lost_in_catch_response(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        with user.client.request(b"PING\r\n", LINE, catch_response=True) as caught:
            assert caught.data == b""
            assert caught.error is not None
            assert caught.error.kind == "reset"

    return run_task(act, target, lambda run: run.count("request") >= 6)


def pushes(target: str) -> dict[str, Any]:
    class Greeted(BusyUser):
        abstract = True

        def on_connect(self) -> None:
            self.client.receive(Until(b"\n"), name="greeting", expect=b"hello\n")

    def act(user: TcpUser) -> None:
        user.client.send(b"3", name="subscribe")
        for number in range(3):
            assert user.client.receive(Until(b"\n"), name="event") == b"event %d\n" % number

    return run_task(act, target, lambda run: run.count("event") >= 30, base=Greeted)


def closed_after_the_reply(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        assert user.client.request(b"GET", UntilClosed()) == b"all there is"

    return run_task(act, target, lambda run: run.count("request") >= 10)


def transactions(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        with user.client.transaction("good", context={"x": 1}):
            for _ in range(3):
                user.client.request(b"PING\r\n", LINE, name="ping")
        with user.client.transaction("bad"):
            user.client.request(b"WHAT\r\n", LINE, name="what", expect=b"+")

    return run_task(act, target, lambda run: run.count("bad") >= 5, users=1, base=LoginUser)


def wrong_arguments(target: str) -> dict[str, Any]:
    """`raised` has the errors of the wrong calls, in their order."""
    raised: list[str] = []
    calls: list[Callable[[Any], object]] = [
        lambda client: client.request("PING\r\n", LINE),
        lambda client: client.echo("PING"),
        lambda client: client.request(b"LOGIN\r\n", LINE, expect="+LOGIN\r\n"),
        lambda client: client.request(b"LOGIN\r\n", LINE, expect=re.compile("LOGIN")),
        lambda client: client.request(b"LOGIN\r\n", LINE, expect=5),
        lambda client: client.request(b"LOGIN\r\n", LINE, timeout=-1),
        lambda client: client.pipeline([Request("PING", LINE)], depth=1),  # type: ignore[arg-type]
        lambda client: client.pipeline([Request(b"LOGIN\r\n", LINE)], depth="2"),
        lambda client: client.pipeline([Request(b"LOGIN\r\n", LINE)], depth=1, timeout="2"),
    ]

    def act(user: TcpUser) -> None:
        try:
            calls[len(raised) % len(calls)](user.client)
        except (TypeError, ValueError) as error:
            raised.append(repr(error))

    return run_task(act, target, lambda _: len(raised) >= 9, users=1) | {"raised": raised}


def logged_sample(name: str) -> str:
    error = UnexpectedReply("another one was expected", address=None, phase="read")
    error.sample = b"y"
    with TestCase().assertLogs("geventecho.loadtest") as logs:
        show_sample({}, {}, ("TCP", name), Failed(error), age=1.0)
    return logs.records[0].getMessage()


def wrong_replies(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        turn = user.turn = getattr(user, "turn", 0) + 1  # type: ignore[attr-defined]
        for size in (3, 200):
            name = f"{size} bytes"
            try:
                user.client.request(b"%d" % (turn % 10) * size, Exactly(size), name=name, expect=b"something else")
            except Failed:
                pass
        with user.client.request(b"%05d" % turn, Exactly(5), name="judged", catch_response=True) as reply:
            reply.failure("no good")

    return run_task(act, target, lambda run: run.count("judged") >= 20)
