"""The limits of a server are kept on the real clock."""

from __future__ import annotations

import time
from typing import Any

import gevent
import pytest

from tests.support.servers import assert_adds_up, dial, echo_server, ping, read_to_end
from tests.support.ticking import LATE
from tests.support.timing import UNIT, wait_until


@pytest.mark.alone
def test_every_limit_is_kept_within_three_tenths_of_a_second_and_never_early() -> None:
    """The connections begin at different points of a tick. The machine adds lateness, so the best of three counts."""
    limit = 6 * UNIT
    for option in ("idle_timeout", "first_byte_timeout", "lifetime"):
        latest = []
        for _ in range(3):
            with echo_server(**{option: limit}) as server:

                def lateness(delay: float, server: Any = server, option: str = option) -> float:
                    gevent.sleep(delay)
                    began = time.monotonic()
                    with dial(server) as client:
                        if option == "idle_timeout":
                            began = time.monotonic()
                            ping(client)
                        assert read_to_end(client) == b""
                        return time.monotonic() - began - limit

                late = [greenlet.get() for greenlet in [gevent.spawn(lateness, 0.013 * turn) for turn in range(12)]]
                wait_until(lambda server=server: not server.connection_count)  # type: ignore[misc]
                assert min(late) >= 0, f"{option} was early"
                assert server.counters[f"ended_{option.removesuffix('_timeout')}"] == 12
                assert_adds_up(server.counters)
            latest.append(max(late))
            if latest[-1] <= LATE:
                break
        assert min(latest) <= LATE, f"{option} was late by {latest}"


@pytest.mark.alone
def test_write_stall_is_kept_within_three_tenths_of_a_second() -> None:
    limit = 6 * UNIT
    late = []
    for _ in range(3):
        with echo_server(write_stall=limit) as server, dial(server) as client:
            wait_until(lambda server=server: server.connection_count)  # type: ignore[misc]
            (connection,) = server._registry.open
            client.setblocking(False)
            while server.connection_count:
                try:
                    client.send(b"x" * 65536)
                except OSError:
                    gevent.sleep(0.002)
            ended = time.monotonic()
            late.append(ended - connection.last_byte_at - limit)
            assert server.counters["ended_write_stall"] == 1
            assert server.counters["bytes_lost"] > 0
            assert_adds_up(server.counters)
        # `last_byte_at` is the time of a tick, up to a tick before the byte.
        assert late[-1] >= 0, "early"
        if late[-1] <= LATE:
            break
    assert min(late) <= LATE, late


def test_idle_ends_a_connection_whose_write_is_blocked() -> None:
    with echo_server(idle_timeout=5 * UNIT, write_stall=None) as server, dial(server) as client:
        client.settimeout(2 * UNIT)
        with pytest.raises(OSError, match="timed out"):
            client.sendall(b"x" * (64 << 20))
        wait_until(lambda: not server.connection_count)
        assert server.counters["ended_idle"] == 1
        assert server.counters["bytes_lost"] > 0
        assert_adds_up(server.counters)


def test_no_timer_ticks_without_a_connection() -> None:
    with echo_server(idle_timeout=60) as server:
        with dial(server) as client:
            ping(client)
            assert server._registry._deadlines._timer is not None
        wait_until(lambda: not server.connection_count)
        assert server._registry._deadlines._timer is None
