"""Time in tests: one unit, scaled for slow machines, and waiting for a condition instead of sleeping."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import gevent

SCALE = float(os.environ.get("GEVENTECHO_TEST_TIME_SCALE", "1"))
"""The slowness of the machine, 1 for a usual one; every time in the tests is multiplied by it."""

UNIT = 0.1 * SCALE
"""Seconds. Timeouts in tests are small multiples of it: long against a scheduling delay, short for a person."""

PATIENCE = 10.0 * SCALE
"""Seconds after which a test gives up a wait; it is far longer than the wait usually takes."""


class ManualTime:
    """Takes the place of the module `time` in a module under test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE, goal: str = "") -> None:
    """Wait until `condition()` is true, greenlets and threads running meanwhile.

    Raises:
        AssertionError: it was still false after `seconds`.
    """
    began = time.monotonic()
    while not condition():
        waited = time.monotonic() - began
        if waited >= seconds:
            raise AssertionError(f"not within {seconds:g} s: {goal or condition}")
        # Some conditions ask the kernel about each process, so a long wait checks less often.
        gevent.sleep(min(0.05, max(0.005, waited / 10)))


def median_of(tries: int, measure: Callable[[], float], limit: float, name: str) -> None:
    """Check that the median of `tries` measurements, an odd number, is within the limit; stop when that is decided.

    Raises:
        AssertionError: most measurements were beyond the limit.
    """
    assert tries % 2, "the median is one of the measurements"
    found: list[float] = []
    within = 0
    while within <= tries // 2 and len(found) - within <= tries // 2:
        found.append(measure())
        within += found[-1] <= limit
    figure(name, ", ".join(f"{value:.4g}" for value in found) + f"; limit {limit:g}")
    assert within > tries // 2, f"{name}: {found}, limit {limit:g}"


def figure(name: str, value: object) -> None:
    """Print a measured figure; `pytest -rP` shows it."""
    print(f"FIGURE {name}: {value}")
