"""Refusals in the log: a line a second at most, and every client in one of them."""

from __future__ import annotations

import time

import gevent
import pytest

from geventecho.server.refusals import LOG_SECONDS, RefusalLog
from tests.support.servers import dial, echo_server, read_to_end
from tests.support.timing import UNIT, wait_until


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    head = "clients turned away within a second: "
    return [line.removeprefix(head) for record in caplog.records if (line := record.getMessage()).startswith(head)]


def test_what_comes_within_a_second_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog()
    gevent.sleep(0)  # a timer counts from what the loop takes for now, which may be long ago when no greenlet ran
    began = time.monotonic()
    for _ in range(1000):
        log.add("full")
    log.add("denied")
    log.add("accept queue full", 5)
    assert told(caplog) == []
    wait_until(lambda: told(caplog))
    assert time.monotonic() - began >= LOG_SECONDS - 0.02
    assert told(caplog) == ["full 1000, denied 1, accept queue full 5"]
    gevent.sleep(LOG_SECONDS + UNIT)
    assert len(told(caplog)) == 1, "and then it is quiet"


def test_the_next_second_counts_anew(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog()
    for turn in (1, 2):
        log.add("full", turn)
        wait_until(lambda turn=turn: len(told(caplog)) == turn)  # type: ignore[misc]
    assert told(caplog) == ["full 1", "full 2"]


def test_at_the_end_it_does_not_wait(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog()
    log.write()
    assert told(caplog) == []
    log.add("full")
    log.write()
    log.write()
    assert told(caplog) == ["full 1"]
    gevent.sleep(LOG_SECONDS + UNIT)
    assert told(caplog) == ["full 1"]


def test_a_flood_at_a_full_server_is_a_line_a_second_with_everybody_in_it(caplog: pytest.LogCaptureFixture) -> None:
    """Without the command line's filter, too: a library's log must not be flooded by its peers."""
    with echo_server(max_connections=0) as server:
        began, count = time.monotonic(), 0
        while time.monotonic() - began < 1.5 * LOG_SECONDS:
            with dial(server) as client:
                assert read_to_end(client) == b""
                count += 1
        wait_until(lambda: server.counters["refused_full"] == count)
    lines = told(caplog)
    assert 1 <= len(lines) <= 3
    assert sum(int(line.removeprefix("full ")) for line in lines) == count
