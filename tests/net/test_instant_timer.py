"""The timer for instants, on a real event loop."""

from __future__ import annotations

import math
import os
from time import perf_counter
from typing import Any

import gevent
import pytest
from gevent.event import Event

from geventecho.net import InstantTimer
from tests.support.timing import UNIT, median_of


def test_it_wakes_at_one_instant_after_the_other_and_never_early() -> None:
    instants = [perf_counter() + UNIT / 10 + place * UNIT / 50 for place in range(5)]
    woken: list[float] = []
    done = Event()

    def wake() -> None:
        woken.append(perf_counter())
        if len(woken) == len(instants):
            done.set()
        else:
            timer.set(instants[len(woken)])

    timer = InstantTimer(wake)
    timer.set(instants[0])
    assert done.wait(10 * UNIT)
    timer.close()
    assert all(at >= instant for at, instant in zip(woken, instants, strict=True))


def test_an_instant_that_is_past_wakes_at_once_and_an_infinite_one_never() -> None:
    woken: list[float] = []
    timer = InstantTimer(lambda: woken.append(perf_counter()))
    timer.set(math.inf)
    gevent.sleep(UNIT / 20)
    assert woken == []
    for past in (0.0, perf_counter() - 1):
        timer.set(past)
        gevent.sleep(UNIT / 20)
    assert len(woken) == 2
    timer.close()


def test_setting_it_again_takes_the_first_instant_back() -> None:
    woken: list[float] = []
    timer = InstantTimer(lambda: woken.append(perf_counter()))
    begun = perf_counter()
    timer.set(begun + UNIT / 20)
    timer.set(begun + UNIT / 5)
    gevent.sleep(UNIT / 2)
    assert len(woken) == 1
    assert woken[0] >= begun + UNIT / 5
    timer.close()


def test_closing_frees_the_descriptor_and_wakes_nobody() -> None:
    before = len(os.listdir("/proc/self/fd"))
    timer = InstantTimer(lambda: pytest.fail("it was closed"))
    timer.set(perf_counter() + UNIT / 50)
    timer.close()
    timer.close()
    gevent.sleep(UNIT / 10)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.alone
def test_it_is_less_late_than_a_timer_of_gevent() -> None:
    """libev sleeps whole milliseconds."""

    def lateness() -> float:
        woken = Event()
        late: list[float] = []

        def wake() -> None:
            late.append(perf_counter() - instant)
            woken.set()

        timer = InstantTimer(wake)
        instant = perf_counter() + 0.0002
        timer.set(instant)
        assert woken.wait(10 * UNIT)
        timer.close()
        return late[0]

    median_of(25, lateness, 0.0005, "seconds that a wake-up is late")


def test_a_hastened_timer_comes_before_other_ready_watchers() -> None:
    order: list[str] = []
    pipes = [os.pipe() for _ in range(2)]
    watchers = [gevent.get_hub().loop.io(reader, 1) for reader, _ in pipes]
    timer = InstantTimer(lambda: order.append("timer"), first=True)

    def ready(watcher: Any) -> None:
        watcher.stop()
        order.append("pipe")
        timer.set(perf_counter() - 1)
        timer.hasten()

    for watcher, (_, writer) in zip(watchers, pipes, strict=True):
        watcher.start(ready, watcher)
        os.write(writer, b"x")
    gevent.sleep(UNIT)
    timer.close()
    for watcher, pipe in zip(watchers, pipes, strict=True):
        watcher.close()
        for descriptor in pipe:
            os.close(descriptor)
    assert order == ["pipe", "timer", "pipe", "timer"]
