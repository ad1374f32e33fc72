"""Scripts of test_pipelines.py."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import locust
import pytest

from geventecho.framing import Exactly, Until
from geventecho.loadtest import Failed, Request, TcpUser
from tests.support.harness import BusyUser, LoginUser, run_task

LINE = Until(b"\r\n")


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
        user.client.pipeline([Request(b"x", Exactly(1))] * 20, depth=4)

    return run_task(act, target, lambda run: run.count("request") >= 60, users=1)


def lost(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        user.client.pipeline([Request(b"0123456789", Exactly(10))] * 20, depth=5)

    return run_task(act, target, lambda run: run.count("connect") >= 4, users=1)


def unexpected_reply(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        ping, what = (
            Request(text, LINE, name="line", expect=b"+PONG\r\n") for text in (b"PING\r\n", b"WHAT\r\n")
        )  # fmt: skip
        with pytest.raises(Failed, match="unexpected reply"):
            user.client.pipeline([ping, what, ping], depth=2)

    return run_task(act, target, lambda run: run.count("line") >= 30, users=1, base=LoginUser)


def stopped(target: str) -> dict[str, Any]:
    def act(user: TcpUser) -> None:
        user.client.pipeline([Request(b"x", Exactly(1))] * 20, depth=5, timeout=60)

    return run_task(act, target, lambda run: run.count("connect") == 2)


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
