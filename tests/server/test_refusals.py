"""Refusals in the log: a line a second at most, and every client in one of them."""

from __future__ import annotations

import time

import gevent
import pytest

from geventecho.server.refusals import LOG_SECONDS, RefusalLog
from tests.support.servers import dial, echo_server, read_to_end
from tests.support.timing import UNIT, wait_until


def logged(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The lines about refusals, without their common beginning."""
    head = "clients turned away within a second: "
    return [line.removeprefix(head) for record in caplog.records if (line := record.getMessage()).startswith(head)]


def test_the_refusals_of_a_second_are_one_line(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog()
    gevent.sleep(0)  # a timer counts from the time that the loop has stored, which is old when no greenlet has run
    began = time.monotonic()
    for _ in range(1000):
        log.add("full")
    log.add("denied")
    log.add("accept queue full", 5)
    assert logged(caplog) == []
    wait_until(lambda: logged(caplog))
    assert time.monotonic() - began >= LOG_SECONDS - 0.02
    assert logged(caplog) == ["full 1000, denied 1, accept queue full 5"]
    gevent.sleep(LOG_SECONDS + UNIT)
    assert len(logged(caplog)) == 1


def test_the_next_second_counts_anew(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog()
    for turn in (1, 2):
        log.add("full", turn)
        wait_until(lambda turn=turn: len(logged(caplog)) == turn)  # type: ignore[misc]
    assert logged(caplog) == ["full 1", "full 2"]


def test_write_logs_the_refusals_at_once_and_only_once(caplog: pytest.LogCaptureFixture) -> None:
    log = RefusalLog()
    log.write()
    assert logged(caplog) == []
    log.add("full")
    log.write()
    log.write()
    assert logged(caplog) == ["full 1"]
    gevent.sleep(LOG_SECONDS + UNIT)
    assert logged(caplog) == ["full 1"]


def test_a_flood_at_a_full_server_is_a_line_a_second_that_counts_every_client(caplog: pytest.LogCaptureFixture) -> None:
    """Also without the command line's filter, because peers must not flood a library's log."""
    with echo_server(max_connections=0) as server:
        began, count = time.monotonic(), 0
        while time.monotonic() - began < 1.5 * LOG_SECONDS:
            with dial(server) as client:
                assert read_to_end(client) == b""
                count += 1
        wait_until(lambda: server.counters["refused_full"] == count)
    lines = logged(caplog)
    assert 1 <= len(lines) <= 3
    assert sum(int(line.removeprefix("full ")) for line in lines) == count
