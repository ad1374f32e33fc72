"""Scripts of test_session.py."""

from __future__ import annotations

import logging
from itertools import islice
from typing import Any

import gevent
import locust
import pytest

from geventecho.errors import ConcurrentUse, CorruptReply
from geventecho.framing import Exactly
from geventecho.loadtest import Failed, TcpUser
from geventecho.loadtest.users.payloads import distinct_payloads
from tests.support.harness import BusyUser, EchoUser, Run, run_task, task_user
from tests.support.timing import UNIT


def fault(target: str, row: str, size: int) -> dict[str, Any]:
    EchoUser.wait_time = locust.constant(UNIT)  # time for a FIN or for stray bytes to arrive
    EchoUser.backoff_base = UNIT
    run = Run(EchoUser, target, 3, connect_timeout=3 * UNIT, request_timeout=3 * UNIT, payload_size=size)
    run.wait(lambda: run.count(row, failed=True) >= 6)
    return run.finish()


def echoes(target: str) -> dict[str, Any]:
    payloads = []

    class User(BusyUser):
        @locust.task
        def echo_once(self) -> None:
            payload = self.next_payload()
            payloads.append(payload)
            assert self.client.echo(payload, context={"number": len(payloads)}) is payload

        def context(self) -> dict[str, int]:
            return {"user": id(self)}

    run = Run(User, target, 5, payload_size=100)
    run.wait(lambda: run.count("echo") >= 500)
    result = run.finish()
    events = [event for event in run.events if event["name"] == "echo"]
    times = [event["response_time"] for event in run.events]
    return result | {
        "distinct": len(set(payloads)) == len(payloads),
        "lengths": sorted({event["response_length"] for event in events}),
        "types": sorted({event["request_type"] for event in run.events}),
        "users": len({event["context"]["user"] for event in run.events}),
        "numbers": len({event["context"]["number"] for event in events}),
        "floats": all(type(time) is float and time > 0 for time in times),
        "median": run.environment.stats.get("echo", "TCP").median_response_time,
    }


def two_greenlets(target: str) -> dict[str, Any]:
    """A second greenlet uses the session while a request is under way."""

    def act(user: TcpUser) -> None:
        first = gevent.spawn(user.client.request, b"x", Exactly(1), name="first")
        try:
            gevent.sleep(0)  # `first` runs until it waits for its reply
            with pytest.raises(ConcurrentUse):
                user.client.echo(b"y", name="second")
            assert first.get() == b"x"
        finally:
            first.kill()  # the test may end while `first` waits

    return run_task(act, target, lambda run: run.count("first") >= 20, users=1)


def stop_in_mid_request(target: str, stop_timeout: float) -> dict[str, Any]:
    run = Run(EchoUser, target, 200, stop_timeout=stop_timeout, request_timeout=60)
    run.wait(lambda: run.count("connect") == 200)
    gevent.sleep(UNIT)
    return run.finish()


def timeout_of_the_task(target: str, limit: float) -> dict[str, Any]:
    def impatient(user: TcpUser) -> None:
        try:
            with gevent.Timeout(limit):
                user.client.echo(b"x")
        except gevent.Timeout:
            pass

    run = Run(task_user(impatient), target)
    run.wait(lambda: run.count("echo") >= 2)
    return run.finish()


def mistake_in_the_task(target: str) -> dict[str, Any]:
    class User(BusyUser):
        wait_time = locust.constant(0.05)

        @locust.task
        def wrong(self) -> None:
            self.client.echo("text")  # type: ignore[arg-type]

    logging.getLogger("locust.user.task").disabled = True
    run = Run(User, target)
    run.wait(lambda: len(run.exceptions) >= 2)
    return run.finish()


def catching_a_failure(target: str) -> dict[str, Any]:
    caught = []

    def careful(user: TcpUser) -> None:
        try:
            user.client.echo(user.next_payload())
        except Failed as failed:
            error = failed.error
            offset = error.offset if isinstance(error, CorruptReply) else None
            caught.append([failed.kind, str(failed), offset, target in str(error)])

    run = Run(task_user(careful), target)
    run.wait(lambda: len(caught) >= 3)
    return run.finish() | {"caught": caught[:3]}


def own_on_start_and_on_stop(target: str) -> dict[str, Any]:
    class User(EchoUser):
        def on_start(self) -> None:
            pass

        def on_stop(self) -> None:
            pass

    run = Run(User, target, 10)
    run.wait(lambda: run.count("echo") >= 50)
    return run.finish()


def wrong_setting(target: str, **options: Any) -> dict[str, Any]:
    records = []

    class Records(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    logging.getLogger("locust.runners").addHandler(Records())
    run = Run(task_user(lambda _: None), target, 3, **options)
    gevent.get_hub().exception_stream = None  # StopTest ends Locust's greenlet that spawns, with a traceback
    run.wait(lambda: run.runner.state == "stopped")
    return run.finish() | {"records": records, "code": run.environment.process_exit_code}


def payloads(size: int) -> dict[str, bool]:
    users = [list(islice(distinct_payloads(size), 200)) for _ in range(20)]
    everything = [payload for user in users for payload in user]
    return {
        "right size": {len(payload) for payload in everything} == {size},
        "distinct for a user": all(len(set(user)) == 200 for user in users),
        "distinct for all": len(set(everything)) == len(everything),
    }


def equal_bytes(size: int) -> int:
    """The number of positions with equal bytes in two payloads."""
    first, second = islice(distinct_payloads(size), 2)
    return sum(a == b for a, b in zip(bytes(first), bytes(second), strict=True))
