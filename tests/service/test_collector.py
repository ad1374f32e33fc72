"""The cycle collector: `serve` keeps its passes short, a server in somebody's program leaves it alone."""

from __future__ import annotations

import gc
import json
import signal

from tests.support.servers import LOCAL, Process, dial, echo_server, ping
from tests.support.timing import wait_until


def test_serve_looks_at_new_objects_only() -> None:
    """The objects of 16,000 connections: by default all are looked at, several times."""
    with Process("-m", "tests.service.scripts.collector", LOCAL) as server:
        with server.connect() as client:
            ping(client)
        server.signal(signal.SIGUSR2)
        wait_until(lambda: server.lines and server.lines[-1].startswith("["))
        young, middle, everything = json.loads(server.lines[-1])
        assert server.stop() == 0
    assert everything == 0
    assert young > middle > 20, "cycles of new objects are still freed"


def test_a_server_in_a_program_of_ones_own_leaves_the_collector_alone() -> None:
    before = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), list(gc.callbacks)
    with echo_server() as server, dial(server) as client:
        ping(client)
        assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.callbacks) == before
    assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.callbacks) == before
