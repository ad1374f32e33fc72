"""The default target, on both sides."""

from __future__ import annotations

import pytest

from tests.support.commands import failed, send
from tests.support.servers import Process

TARGET = "tcp://127.0.0.1:8090"


def test_serve_listens_there() -> None:
    with Process("-m", "geventecho", "serve") as server:
        assert server.target == TARGET
        done = send("hello")
        assert (done.returncode, done.stdout, done.stderr) == (0, b"hello", b"")


@pytest.mark.parametrize("arguments", [["hello"], ["time: 12"], ["say localhost:80"], []])
def test_what_is_no_target_is_sent_there(arguments: list[str]) -> None:
    failed(send(*arguments), f"connect {TARGET}", "is the server running?")
