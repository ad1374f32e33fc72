"""Scripts of test_install.py."""

from __future__ import annotations

import gc
import io
import logging
import resource
import urllib.error
import urllib.request
import weakref
from typing import Any

import gevent
import locust
from locust import argument_parser, stats
from locust.env import Environment
from locust.stats import StatsEntry

from geventecho.framing import Exactly
from geventecho.loadtest import TcpUser, install, result_of
from tests.loadtest.scripts.results import start
from tests.support.harness import EchoUser, Run, task_user
from tests.support.timing import wait_until

EVENTS = ("quit", "quitting", "test_start")


def listeners(environment: Environment) -> dict[str, int]:
    return {name: len(getattr(environment.events, name)._handlers) for name in EVENTS}


def without_and_with(target: str) -> list[list[dict[str, Any]]]:
    """Run users without and with `install`; returns the state of Locust during each run, and its result."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (500, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    frozen = gc.get_freeze_count()
    return [one_run(target, frozen, installs) for installs in (0, 3)]  # three calls have the effect of one


def one_run(target: str, frozen: int, installs: int) -> list[dict[str, Any]]:
    run = Run(EchoUser, target, 3, listen=False)
    for _ in range(installs):
        install(run.environment)
    run.wait(lambda: run.environment.stats.total.num_requests >= 100)
    found = {
        "bucket": stats.bucket_response_time(0.1234),
        "shown_by": StatsEntry.to_dict.__module__,
        "limit_raised": resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 500,
        "frozen": gc.get_freeze_count() > frozen,
        "listeners": listeners(run.environment),
    }
    result = run.finish()
    run.environment.events.quit.fire(exit_code=0)
    return [found, result]


def parsers_made_by_spawn_orders(target: str) -> list[int]:
    """The numbers of parsers that a worker makes for the orders to spawn its first and its second user."""
    options = argument_parser.get_parser().parse_args([])
    environments = [Environment(user_classes=[EchoUser], host=target, parsed_options=options) for _ in range(2)]
    master = environments[0].create_master_runner("127.0.0.1", 0)
    install(environments[0])
    worker = environments[1].create_worker_runner("127.0.0.1", master.server.port)
    install(environments[1])
    make = argument_parser.get_empty_argument_parser
    made = []

    def counted(**named: Any) -> argument_parser.LocustArgumentParser:
        made.append(named)
        return make(**named)

    argument_parser.get_empty_argument_parser = counted  # type: ignore[assignment]
    counts = []
    for users in (1, 2):
        master.start(users, 1)
        wait_until(lambda users=users: worker.user_count == users)  # type: ignore[misc]
        counts.append(len(made))
        made.clear()
    worker.quit()
    master.quit()
    return counts


def in_steps(target: str) -> dict[str, Any]:
    """Call `install` without and with a runner, and with a web UI; returns the listeners, and the UI's statuses."""
    environment = Environment(user_classes=[EchoUser], host=target)
    counts = []

    def step() -> None:
        install(environment)
        install(environment)
        counts.append(listeners(environment))

    step()
    runner = environment.create_local_runner()
    step()
    web_ui = environment.create_web_ui("127.0.0.1", 0)
    step()
    while web_ui.server is None or not web_ui.server.started:
        gevent.sleep(0.01)
    port = web_ui.server.server_port

    def status(headers: dict[str, str]) -> int:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/", headers=headers)
        try:
            with urllib.request.urlopen(request) as reply:
                return int(reply.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    statuses = [status({}), status({"Host": "evil.example"})]
    runner.start(2, spawn_rate=2)
    with gevent.Timeout(10):
        while environment.stats.total.num_requests < 10:
            gevent.sleep(0.01)
    runner.quit()
    web_ui.stop()
    return {"counts": counts, "statuses": statuses}


def environments_left(target: str, runs: int) -> int:
    """The number of environments that are still in memory after `runs` runs in a row."""
    known = []
    for _ in range(runs):
        environment, runner = start(target, EchoUser, users=1)
        wait_until(lambda counted=environment.stats: counted.total.num_requests >= 5)  # type: ignore[misc]
        runner.quit()
        result_of(environment)
        known.append(weakref.ref(environment))
        del environment, runner
        gc.collect()
    return sum(reference() is not None for reference in known)


def web_users_only() -> list[float]:
    """A bucket and the numbers of listeners after `install` without a TcpUser."""

    class Web(locust.HttpUser):
        host = "http://127.0.0.1:1"

    environment = Environment(user_classes=[Web])
    environment.create_local_runner()
    install(environment)
    return [stats.bucket_response_time(0.1234), *listeners(environment).values()]


def last_field(reply: bytes) -> bytes:
    return reply.split(b",")[7]


def error_of_the_tester(target: str) -> dict[str, Any]:
    """The reports of an error in an `expect` function: the page *Exceptions*, the log and Locust's failures."""
    log = io.StringIO()
    logger = logging.getLogger("locust.user.task")
    logger.addHandler(logging.StreamHandler(log))
    logger.propagate = False

    def ask(user: TcpUser) -> None:
        user.client.request(b"a,b", Exactly(3), expect=last_field)

    run = Run(task_user(ask), target)
    run.wait(lambda: run.count("request", failed=True) >= 3)
    (kept,) = [failure.error for failure in run.environment.stats.errors.values()]
    page = [row["traceback"] for row in run.runner.exceptions.values()]
    return run.finish() | {
        "page": page,
        "log": log.getvalue(),
        "kept": [repr(kept), repr(kept.error), kept.error.__traceback__ is None],  # type: ignore[union-attr]
    }
