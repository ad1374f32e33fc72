"""The default target of `serve` and of `send`."""

from __future__ import annotations

import pytest

from tests.support.commands import failed, send
from tests.support.servers import Process

TARGET = "tcp://127.0.0.1:8090"


def test_serve_and_send_use_the_default_target() -> None:
    with Process("-m", "geventecho", "serve") as server:
        assert server.target == TARGET
        done = send("hello")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")


@pytest.mark.parametrize("arguments", [["hello"], ["time: 12"], ["say localhost:80"], []])
def test_a_message_without_a_target_goes_to_the_default_target(arguments: list[str]) -> None:
    failed(send(*arguments), f"connect {TARGET}", "is the server running?")
