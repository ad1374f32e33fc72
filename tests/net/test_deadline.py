"""Deadline: one budget shared by several steps."""

from __future__ import annotations

import math
import time

import pytest

from geventecho.net import deadline as deadline_module
from geventecho.net.deadline import Deadline
from tests.support.properties import given, st
from tests.support.timing import UNIT, ManualTime, wait_until


def test_a_deadline_without_a_budget_never_expires() -> None:
    deadline = Deadline(None)
    assert deadline.remaining() == math.inf
    assert not deadline.expired


def test_a_deadline_runs_down_on_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualTime()
    monkeypatch.setattr(deadline_module, "time", clock)
    deadline = Deadline(5)
    assert deadline.remaining() == 5
    clock.now = 1004.0
    assert (deadline.remaining(), deadline.expired) == (1, False)
    clock.now = 1005.0
    assert (deadline.remaining(), deadline.expired) == (0, True)
    clock.now = 2000.0
    assert deadline.remaining() == 0


def test_a_deadline_expires_in_real_time_and_not_before() -> None:
    began = time.monotonic()
    deadline = Deadline(UNIT)
    wait_until(lambda: deadline.expired)
    assert time.monotonic() - began >= UNIT


@given(st.floats(-1e6, 1e6))
def test_the_remaining_time_is_never_negative(seconds: float) -> None:
    deadline = Deadline(seconds)
    assert 0 <= deadline.remaining() <= max(0.0, seconds) + 1e-3
