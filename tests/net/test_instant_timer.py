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
from tests.support.timing import UNIT, median_of, wait_until


def test_a_timer_wakes_at_one_instant_after_the_other_and_never_early() -> None:
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


def test_a_past_instant_wakes_at_once_and_an_infinite_one_never() -> None:
    woken: list[float] = []
    timer = InstantTimer(lambda: woken.append(perf_counter()))
    timer.set(math.inf)
    gevent.sleep(UNIT / 20)
    assert woken == []
    timer.set(0.0)
    wait_until(lambda: len(woken) == 1)
    timer.set(perf_counter() - 1)
    wait_until(lambda: len(woken) == 2)
    timer.close()


def test_setting_a_timer_again_replaces_its_instant() -> None:
    woken: list[float] = []
    timer = InstantTimer(lambda: woken.append(perf_counter()))
    begun = perf_counter()
    timer.set(begun + UNIT / 20)
    timer.set(begun + UNIT / 5)
    gevent.sleep(UNIT / 2)
    assert len(woken) == 1
    assert woken[0] >= begun + UNIT / 5
    timer.close()


def test_a_closed_timer_frees_its_descriptor_and_never_wakes() -> None:
    before = len(os.listdir("/proc/self/fd"))
    woken: list[float] = []
    timer = InstantTimer(lambda: woken.append(perf_counter()))
    timer.set(perf_counter() + UNIT / 50)
    timer.close()
    timer.close()
    gevent.sleep(UNIT / 10)
    assert woken == []
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.alone
def test_a_timer_is_less_late_than_one_of_gevent() -> None:
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
    wait_until(lambda: len(order) >= 4)
    timer.close()
    for watcher, pipe in zip(watchers, pipes, strict=True):
        watcher.close()
        for descriptor in pipe:
            os.close(descriptor)
    assert order == ["pipe", "timer", "pipe", "timer"]
