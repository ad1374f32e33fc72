"""Scripts of test_gates.py."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import gevent
import locust
import locust.log

from geventecho.loadtest import Failed, TcpUser, result_of
from tests.loadtest.scripts.results import start
from tests.support.harness import EchoUser
from tests.support.timing import SCALE


class CatchingUser(TcpUser):
    """A user whose echoes fail. Its tasks catch the failures."""

    @locust.task
    def echo(self) -> None:
        with suppress(Failed):
            self.client.echo(self.next_payload())


def exit_code(target: str, *gates: str, mistake: str = "", **options: Any) -> dict[str, Any]:
    """The exit code that a run with failed operations sets; None if Locust chooses the exit code.

    Args:
        target: the target of the users.
        gates: the gates of the run.
        mistake: "task" or "greenlet": an exception in a task or a greenlet; "caught": tasks catch the failures.
        options: the options of the run, without `tcp_`.
    """
    user = CatchingUser if mistake == "caught" else EchoUser
    environment, runner = start(target, user, users=4, gate=list(gates), think_time="0.01", **options)
    assert environment.parsed_options is not None
    environment.parsed_options.headless = True
    with gevent.Timeout(10.0 * SCALE):
        while not environment.stats.errors:
            gevent.sleep(0.02)
    runner.stop()
    if mistake == "task":
        runner.log_exception("local", "a mistake", "")
    locust.log.unhandled_greenlet_exception = mistake == "greenlet"
    environment.events.quitting.fire(environment=environment, reverse=True)
    runner.quit()
    result = result_of(environment)
    return {
        "code": environment.process_exit_code,
        "failed": result.account.failed,
        "reasons": [gate.reason for gate in result.gates],
    }
