"""Scripts of test_backoff.py."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import gevent
import locust

from tests.support.harness import EchoUser, Run
from tests.support.timing import UNIT


def long_back_off(target: str) -> dict[str, Any]:
    EchoUser.backoff_base = EchoUser.backoff_cap = 1e6  # so that none of the 20 users draws a short pause
    run = Run(EchoUser, target, 20, stop_timeout=60)
    run.wait(lambda: run.count("connect") == 20)
    gevent.sleep(0.05)
    return run.finish()


def reconnects_after_a_restart(target: str) -> dict[str, Any]:
    """All connections break. `peak` in the result is the most reconnects that began within one UNIT."""
    EchoUser.wait_time = locust.constant(UNIT)
    EchoUser.backoff_base = 10 * UNIT
    run = Run(EchoUser, target, 300)
    run.wait(lambda: run.count("echo", failed=True) == 300, 20)
    run.wait(lambda: run.count("connect", failed=False) == 600, 30)
    before = run.count("echo", failed=False)
    run.wait(lambda: run.count("echo", failed=False) >= before + 300)
    result = run.finish()
    starts = [event["start_time"] for event in run.events if event["name"] == "connect"][300:]
    return result | {"peak": max(sum(start <= other < start + UNIT for other in starts) for start in starts)}


def pauses(target: str) -> dict[str, Any]:
    EchoUser.backoff_base, EchoUser.backoff_cap = UNIT / 10, UNIT
    run = Run(EchoUser, target)
    run.wait(lambda: run.count("connect") >= 30)
    result = run.finish()
    starts = [event["start_time"] for event in run.events]
    return result | {"pauses": [later - earlier for earlier, later in pairwise(starts)]}
