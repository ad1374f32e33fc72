"""Ends of workers that are a crash loop, and ends that are not, by the clock."""

from __future__ import annotations

import pytest

from geventecho.service import crash_loop
from geventecho.service.crash_loop import LONGEST_DELAY, MAX_ENDS, MIN_LIFETIME, QUIET, CrashLoop
from tests.support.timing import ManualTime


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualTime:
    time = ManualTime()
    monkeypatch.setattr(crash_loop, "time", time)
    return time


def test_ends_in_a_row_are_delayed_and_counted(clock: ManualTime) -> None:
    loop, delays = CrashLoop(), []
    for number in range(1, MAX_ENDS + 1):
        assert loop.count(age=0.5) is (number == MAX_ENDS)
        delays.append(loop.delay())
        clock.now += loop.delay()
    assert delays[:4] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert delays[-1] == pytest.approx(LONGEST_DELAY)


def test_ends_with_quiet_between_them_are_no_crash_loop(clock: ManualTime) -> None:
    loop = CrashLoop()
    for _ in range(3 * MAX_ENDS):
        assert not loop.count(age=0.5)
        assert loop.delay() == pytest.approx(0.1)
        clock.now += QUIET + 1


def test_the_end_of_an_old_worker_resets_the_count(clock: ManualTime) -> None:
    loop = CrashLoop()
    for _ in range(MAX_ENDS - 1):
        loop.count(age=0.5)
    clock.now += LONGEST_DELAY
    assert not loop.count(age=MIN_LIFETIME)
    assert loop.delay() == 0
    assert not loop.count(age=0.5)


def test_a_shorter_wait_does_not_end_a_longer_one(clock: ManualTime) -> None:
    loop = CrashLoop()
    loop.wait(2.0)
    clock.now += 0.5
    loop.wait(0.1)
    assert loop.delay() == pytest.approx(1.5)
