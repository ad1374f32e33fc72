"""Scripts of test_server_account.py: servers, metrics and users in one process. No call may block its hub."""

from __future__ import annotations

import logging
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import gevent
import locust
from locust.env import Environment

from geventecho.errors import ConnectRefused, ConnectTimeout
from geventecho.loadtest import TcpUser, account_of, result_of
from geventecho.loadtest.measure import Account
from geventecho.loadtest.run import server_account
from geventecho.loadtest.run.accounts import Accounts
from geventecho.results import as_json
from geventecho.server import EchoServer
from tests.loadtest.scripts.results import start
from tests.support.echo_with_metrics import LISTEN, Metrics
from tests.support.harness import BusyUser, EchoUser
from tests.support.servers import dial, ping, running
from tests.support.timing import PATIENCE
from tests.support.tls import server_context

Json = dict[str, Any]


class SendingUser(BusyUser):
    """Sends, and closes without having read the echo."""

    @locust.task
    def send(self) -> None:
        self.client.send(self.next_payload())
        self.client.close()


class HurriedUser(BusyUser):
    """Waits for a short time for a reply that never ends."""

    backoff_base = 0.001

    @locust.task
    def ask(self) -> None:
        self.client.request(self.next_payload(), lambda _: 0, timeout=0.01)


USERS: dict[str, type[TcpUser]] = {"echo": EchoUser, "send": SendingUser, "hurry": HurriedUser}


@contextmanager
def warnings() -> Iterator[list[str]]:
    """The warnings of the load test that are logged in the block."""
    logged: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: logged.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("geventecho.loadtest")
    logger.addHandler(handler)
    try:
        yield logged
    finally:
        logger.removeHandler(handler)


def run(
    server: EchoServer, url: str, *, user: str = "echo", meanwhile: Callable[[], object] = lambda: None, **options: Any
) -> Json:
    """Run four users until each has connected and 50 operations have started.

    Returns the result, and the `seconds` of the stop.
    """
    options = {"think_time": "0", "payload_size": "1000", "warm_up": "0.1", **options}
    environment, runner = start(str(server.address), USERS[user], users=4, account=url, **options)
    environment.stop_timeout = 0
    with gevent.Timeout(PATIENCE):
        while account_of(environment).started < 50 or server.counters["accepted"] < 4:
            gevent.sleep(0.01)
    meanwhile()
    begun = time.monotonic()
    runner.stop()
    seconds = time.monotonic() - begun
    runner.quit()
    return {**as_json(result_of(environment)), "seconds": seconds}


def account(limits: Json | None = None, **options: Any) -> Json:
    """The account of a run, with the server's own counters."""
    config = {name: tuple(value) if isinstance(value, list) else value for name, value in (limits or {}).items()}
    if "tls_insecure" in options:
        config["ssl_context"] = server_context()
    with running(EchoServer(LISTEN, **config)) as server, Metrics(server) as metrics:
        made = run(server, metrics.url, **options)
        return {**made["server_account"], "counters": server.counters}


def two_tests() -> list[Json]:
    """The accounts of two tests in a row in one process."""
    with running(EchoServer(LISTEN)) as server, Metrics(server) as metrics:
        environment, runner = start(str(server.address), EchoUser, users=2, account=metrics.url, think_time="0")
        made = []
        for users in (2, 3):
            runner.start(users, spawn_rate=users)
            with gevent.Timeout(PATIENCE):
                while account_of(environment).connections < users or account_of(environment).ok < 20:
                    gevent.sleep(0.01)
            runner.stop()
            made.append(as_json(result_of(environment))["server_account"])
        runner.quit()
        return made


def with_event(event: str, read_timeout: float = 0.3) -> Json:
    """The result of a run during which an event happens.

    Args:
        event: the name of the event.
        read_timeout: seconds for all readings of the metrics at the end.
    """
    server_account.READ_TIMEOUT = read_timeout  # type: ignore[misc]
    first = EchoServer(LISTEN)
    with running(first), running(EchoServer(LISTEN)) as second, Metrics(first) as metrics:
        idle = dial(first)

        def happen() -> None:
            if event == "another client":
                clients.append(dial(first))
                ping(clients[-1], b"x" * 77)
            elif event == "a client that goes":
                idle.close()
                with gevent.Timeout(PATIENCE):
                    while not first.counters["ended_peer"]:
                        gevent.sleep(0.01)
            elif event == "a restart":
                metrics.server = second
            elif event == "no metrics any more":
                metrics.stop()
            else:
                raise ValueError(event)

        clients = [idle]
        ping(idle, b"before")
        made = run(first, metrics.url, meanwhile=happen)
        for client in clients:
            client.close()
        return made


def unreadable(url: str) -> Json:
    """The result of a run whose metrics cannot be read, and the warnings about them."""
    with running(EchoServer(LISTEN)) as server, warnings() as logged:
        made = run(server, url)
    return {
        "account": made["server_account"],
        "status": made["verdict"]["status"],
        "ok": made["account"]["ok"],
        "warnings": [line for line in logged if "--tcp-account" in line],
    }


def reasons(urls: list[str], seconds: float) -> list[str]:
    """The error of reading each page within `seconds`; "" for a page that can be read."""
    found = []
    for url in urls:
        try:
            server_account._read(url, seconds)
            found.append("")
        except server_account._Unreadable as error:
            found.append(str(error))
    return found


def without_a_worker() -> list[Any]:
    """The account of a test that has lost a worker, and the number of readings of the metrics."""
    with running(EchoServer(LISTEN)) as server, Metrics(server) as metrics:
        environment = Environment(user_classes=[EchoUser], parsed_options=Namespace(tcp_account=metrics.url))
        runner = environment.create_local_runner()
        ends = server_account.BothEnds(environment, Accounts(environment, runner), lambda: ["worker"])
        ends.on_test_start()
        ends.on_test_stop()
        assert ends.account is not None
        return [ends.account.unknown, len(metrics.asked)]


def counters(page: str) -> list[Any]:
    """The counters of a page, and the start time of its server."""
    found, started = server_account._counters(page)
    return [asdict(found), started]


def given_up() -> list[int]:
    """The counts after four connects: timed out, aborted, refused and successful."""
    where: Json = {"address": None, "phase": "connect"}
    made = Account()
    for error in (ConnectTimeout("no answer", **where), gevent.GreenletExit(), ConnectRefused("no", **where)):
        try:
            with made.connecting():
                raise error
        except BaseException:
            pass
    with made.connecting():
        pass
    return [made.given_up, made.connections, made.open, made.opening]
