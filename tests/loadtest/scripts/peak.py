"""Scripts of test_peak.py."""

from __future__ import annotations

from collections import Counter

from geventecho.loadtest import account_of
from tests.support.harness import EchoUser, Run
from tests.support.timing import UNIT


def connects(target: str) -> dict[str, int]:
    """The most connects in one second, by the account and by the events."""
    EchoUser.backoff_base = EchoUser.backoff_cap = 3 * UNIT
    run = Run(EchoUser, target, 50)
    run.wait(lambda: run.count("connect") >= 300)
    run.finish()
    starts = Counter(int(event["start_time"]) for event in run.events)
    account = account_of(run.environment)
    return {
        "peak": account.peak,
        "fullest": max(starts.values()),
        "seconds": len(starts),
        "all": account.connects,
        "aborted": account.aborted,
    }
