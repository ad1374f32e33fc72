"""Scripts of test_live.py."""

from __future__ import annotations

import json
import logging
import os
import signal
import time
from argparse import Namespace
from typing import Any

import gevent
import psutil
from locust.env import Environment

from geventecho.loadtest import install, result_of
from geventecho.loadtest.run import live, live_json, live_of
from geventecho.loadtest.run.attached import attached
from geventecho.results import Account, Collection, Facts, as_json
from tests.support.harness import EchoUser
from tests.support.timing import SCALE

FACTS = Facts("", (), "", {}, {}, dict.fromkeys(Account.__dataclass_fields__, 0))


def children() -> list[psutil.Process]:
    """The processes that make live figures, zombies too."""
    return list(psutil.Process().children())


def two_tests(target: str) -> dict[str, Any]:
    """Run two tests in a row; returns their live figures, and the processes and descriptors that are left."""
    environment = Environment(
        user_classes=[EchoUser],
        host=target,
        parsed_options=Namespace(headless=False, run_time=60, tcp_think_time="0.01"),
    )
    runner = environment.create_local_runner()
    install(environment)
    found: dict[str, Any] = {"before": json.loads(live_json(environment)), "none": live_of(environment), "states": []}
    gevent.sleep(0.1)
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(2):
        runner.start(3, spawn_rate=3)
        while True:
            seen = json.loads(live_json(environment))
            if seen["state"] not in found["states"][-1:]:
                found["states"].append(seen["state"])
            # The last point may begin without the connections.
            if seen["state"] == "running" and seen["series"]["run"]["open"][-1:] == [3]:
                break
            gevent.sleep(0.05)
        found["seen"], found["brief"] = seen, live_of(environment)
        found["one"] = json.loads(live_json(environment, "TCP echo"))["series"]["rows"]
        found["nice"] = [child.nice() for child in children()]
        runner.stop()
        last = json.loads(live_json(environment))
        found["states"].append(last["state"])
    del last["state"], last["elapsed_s"], last["left_s"], last["now"]
    found["same"] = last == json.loads(json.dumps(as_json(result_of(environment))))
    found["left"] = [len(children()), len(os.listdir("/proc/self/fd")) - descriptors]
    return found


def stopped(limit: int) -> dict[str, Any]:
    """Send calls to a stopped process. It does not read, so its pipe fills."""
    live.MAX_WAITING = limit  # type: ignore[misc]
    process = live.LiveProcess(1000, 0.0)
    answer = process.ask(1001.0, FACTS)
    (child,) = children()
    child.send_signal(signal.SIGSTOP)
    longest, number = 0.0, 0
    while process.is_alive and number < 10_000:
        before = time.perf_counter()
        process.call(Collection.count_users, float(number), "x" * 10_000)
        gevent.sleep(0)
        longest = max(longest, time.perf_counter() - before)
        number += 1
    return {"answered": answer is not None, "told": number, "left": len(children()), "passed": longest < 1.0}


def ended_before_the_start() -> list[int]:
    """The number of processes that are left when each is ended before it has started, or while it starts."""
    for seconds in (None, 0.0, 0.001):
        process = live.LiveProcess(1000, 0.0)
        if seconds is not None:
            gevent.sleep(seconds)
        process.end()
    return [len(children())]


def stands_still(target: str) -> dict[str, Any]:
    """Stop the process during a test, continue it, and kill it; returns the states and the errors of each step."""
    live.LONGEST_PAUSE = live.ANSWER_TIMEOUT = 0.5  # type: ignore[misc]
    environment = Environment(user_classes=[EchoUser], host=target, parsed_options=Namespace(tcp_think_time="0.01"))
    runner = environment.create_local_runner()
    install(environment)
    found: dict[str, Any] = {}

    def wait(has_figures: bool) -> str:
        with gevent.Timeout(30 * SCALE):
            while ("verdict" in (seen := live_of(environment) or {})) != has_figures:
                gevent.sleep(0.05)
        return str(seen["state"])

    def error_of(name: str) -> str:
        try:
            live.live_file(environment, name)
        except (TimeoutError, EOFError) as error:
            return f"{type(error).__name__}: {error}"
        return ""

    runner.start(3, spawn_rate=3)
    found["before"] = [wait(True), error_of("rows.csv")]
    (child,) = children()
    child.send_signal(signal.SIGSTOP)
    figures = attached(environment, live.Live)
    assert figures is not None
    figures._incomplete = lambda: ["worker 1 was lost"]
    found["lost"] = (live_of(environment) or {})["verdict"]["reasons"][:1]
    figures._incomplete = list
    warnings: list[logging.LogRecord] = []
    live.logger.addFilter(lambda record: warnings.append(record) or True)  # type: ignore[func-returns-value]
    live.LONGEST_ANSWER = 1.0  # type: ignore[misc]
    found["still"] = [wait(False), error_of("rows.csv")]
    for _ in range(3):
        live_of(environment)
    found["warnings"] = len(warnings)
    child.send_signal(signal.SIGCONT)
    found["again"] = [wait(True)]
    child.kill()
    found["killed"] = [wait(False), error_of("rows.csv")]
    runner.stop()
    found["after"] = [wait(True), error_of("rows.csv")]
    return found
