"""Users with one task, and a protocol of lines for them to speak."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from tests.support.locust_script import assert_clean, run_users
from tests.support.timing import UNIT

USER = """\
import re
from geventecho.framing import *
from geventecho.loadtest import Failed, Request
class User(BusyUser):
    backoff_base = 0.01
    def act(self):
{task}
    tasks = [act]
run = Run(User, target, {users}, request_timeout={timeout})
run.wait(lambda: {until})
answer(run.finish())
"""


def run_task(task: str, target: str, directory: Path, *, until: str, users: int = 2, extra: str = "") -> dict[str, Any]:
    """Run users with this task until something is true of their `Run`; `extra` are further lines of their class."""
    lines = "\n".join(" " * 8 + line for line in task.strip("\n").splitlines())
    text = USER.format(task=lines, users=users, until=until, timeout=10 * UNIT)
    text = text.replace("class User(BusyUser):\n", "class User(BusyUser):\n" + extra)
    result = run_users(text, target, directory)
    assert_clean(result)
    return result


def lines(connection: socket.socket) -> None:
    """A protocol of lines: PING is answered with +PONG, anything else with -ERR; LOGIN lets it speak at all."""
    logged_in = False
    with connection.makefile("rb") as reader:
        for line in reader:
            logged_in = logged_in or line == b"LOGIN\r\n"
            good = logged_in and line in (b"PING\r\n", b"LOGIN\r\n")
            connection.sendall(b"+" + line.strip().replace(b"PING", b"PONG") + b"\r\n" if good else b"-ERR\r\n")


LOGIN = """\
    def on_connect(self):
        self.client.request(b"LOGIN\\r\\n", Until(b"\\r\\n"), name="login", expect=b"+LOGIN\\r\\n")
"""
