"""The conversion of the kernel's stamps, with clocks that a test sets and with the real ones."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from gevent import socket

from geventecho.net import CLOCK, STAMP_SPACE, StampClock, stamp_arrivals
from tests.support.timing import PATIENCE, wait_until

SECOND = 1_000_000_000
BOOTED = 1_700_000_000 * SECOND
"""The wall clock when the monotonic one showed 0."""


class Clocks:
    """Both clocks. A reading takes 50 ns, and the next readings of the wall clock may take longer."""

    def __init__(self) -> None:
        self.now = 1000 * SECOND
        self.stepped = 0
        self.preempted: list[int] = []
        self.clock = StampClock(self._monotonic, self._wall)

    def _monotonic(self) -> int:
        self.now += 50
        return self.now

    def _wall(self) -> int:
        self.now += 50 + (self.preempted.pop() if self.preempted else 0)
        return BOOTED + self.stepped + self.now

    def arrival(self, ago: int) -> int:
        """Convert a stamp of `ago` nanoseconds before now; returns the result, in nanoseconds before now, or 0."""
        ancillary = self.stamp(ago)
        read = self._monotonic()
        arrived = self.clock.arrival(ancillary, read)
        return arrived and read - arrived

    def stamp(self, ago: int) -> list[Any]:
        return [(1, 35, struct.pack("@ll", *divmod(BOOTED + self.stepped + self.now - ago, SECOND)))]


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_a_stamp_is_converted_to_within_200_ns(clocks: Clocks) -> None:
    for ago in (1_000, 123_456_789, 5 * SECOND):
        assert clocks.arrival(ago) == pytest.approx(ago, abs=200)
    assert clocks.clock.steps == 0


@pytest.mark.parametrize("step", [-3600 * SECOND, -20_000, 20_000, SECOND])
def test_a_step_is_noticed_once_and_later_stamps_are_right_again(clocks: Clocks, step: int) -> None:
    clocks.arrival(5_000)
    clocks.stepped = step
    clocks.arrival(5_000)
    assert clocks.clock.steps == 1
    assert clocks.arrival(5_000) == pytest.approx(5_000, abs=200)
    assert clocks.clock.steps == 1


@pytest.mark.parametrize("times", [1, 2, 4])
def test_a_preemption_between_the_two_readings_is_no_step(clocks: Clocks, times: int) -> None:
    clocks.preempted = [3_000_000] * times
    assert clocks.arrival(5_000) == pytest.approx(5_000, abs=200)
    assert clocks.clock.steps == 0


def test_a_clock_that_drifts_is_followed(clocks: Clocks) -> None:
    for _ in range(1000):
        clocks.stepped += 5_000  # 500 millionths of 10 ms
        clocks.now += 10_000_000
        assert clocks.arrival(5_000) == pytest.approx(5_000, abs=15_000)
    assert clocks.clock.steps == 0


def test_a_stamp_later_than_the_reading_is_no_arrival(clocks: Clocks) -> None:
    assert clocks.arrival(-1_000_000) == 0


def test_a_real_stamp_lies_between_the_send_and_the_read() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as sender, listener.accept()[0] as receiver:
            stamp_arrivals(receiver)

            def stamped() -> bool:  # the kernel begins to stamp after a moment
                sent = CLOCK.monotonic()
                sender.send(b"x")
                _, ancillary, _, _ = receiver.recvmsg(1, STAMP_SPACE)
                read = CLOCK.monotonic()
                return bool(ancillary) and sent < CLOCK.arrival(ancillary, read) < read

            wait_until(stamped, PATIENCE, "a stamp")
