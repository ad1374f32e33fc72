"""Standard error takes nothing. The service goes on without delay and counts the lines that it drops."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable

import gevent
import pytest

from tests.support.servers import ping
from tests.support.sinks import closed_reader, full_device, unread_pipe
from tests.support.timing import PATIENCE, figure, median_of, wait_until
from tests.support.watch import attack, counted, witness

pytestmark = pytest.mark.faults


@pytest.mark.parametrize(
    "sink", [unread_pipe, *(pytest.param(sink, marks=pytest.mark.long) for sink in (closed_reader, full_device))]
)
@pytest.mark.alone
def test_a_log_sink_that_takes_nothing_delays_no_ping(
    sink: Callable[[], contextlib.AbstractContextManager[int]],
) -> None:
    def once() -> float:
        with sink() as stderr, counted({"stderr": stderr}, log_level="debug") as server:
            with witness(server) as sight:
                attack(server, "crowd", 500)
            found = server.wait_for(open=0)
            figure(f"{sink.__name__}: lines dropped of 2,000", found["log_dropped"])
            assert found["log_dropped"] >= 500
        return sight.gap

    median_of(3, once, 50, f"{sink.__name__}: witness max gap, ms")


def test_the_number_of_dropped_lines_is_logged_once_the_pipe_is_read_again() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    text = ""

    def loss_is_logged() -> bool:
        nonlocal text
        with contextlib.suppress(BlockingIOError):
            text += os.read(reader, 1 << 20).decode()
        return "lines were dropped" in text

    with counted({"stderr": writer}, log_level="debug") as server:
        attack(server, "crowd", 750)
        assert server.counters()["log_dropped"] > 0
        wait_until(loss_is_logged)
        with server.connect() as client:
            ping(client)
        reading = gevent.spawn(wait_until, lambda: loss_is_logged() and server.popen.poll() is not None)
        assert server.stop() == 0
        reading.get(timeout=PATIENCE)
        logged = sum(int(line.split()[0]) for line in text.splitlines() if line.endswith(" lines were dropped"))
        assert logged == server.last_report()["log_dropped"]
    os.close(reader)
    os.close(writer)
