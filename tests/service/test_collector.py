"""The cycle collector: `serve` keeps its passes short, a server in another program does not change it."""

from __future__ import annotations

import gc
import json
import signal

from tests.support.servers import LOCAL, Process, dial, echo_server, ping
from tests.support.timing import wait_until


def test_serve_collects_new_objects_only() -> None:
    """As many objects as 16,000 connections have: by default the collector traverses all of them several times."""
    with Process("-m", "tests.service.scripts.collector", LOCAL) as server:
        with server.connect() as client:
            ping(client)
        server.signal(signal.SIGUSR2)
        wait_until(lambda: server.lines and server.lines[-1].startswith("["))
        young, middle, everything = json.loads(server.lines[-1])
        assert server.stop() == 0
    assert everything == 0
    assert young > middle > 20, "cycles of new objects are still freed"


def test_a_server_in_another_program_does_not_change_the_collector() -> None:
    before = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), list(gc.callbacks)
    with echo_server() as server, dial(server) as client:
        ping(client)
        assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.callbacks) == before
    assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count(), gc.callbacks) == before
