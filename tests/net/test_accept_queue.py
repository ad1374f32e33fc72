"""The drops of a listener that come from a full accept queue."""

from __future__ import annotations

import contextlib
import json
import socket as plain
from pathlib import Path

import pytest
from gevent import socket

from geventecho.net import accept_queue
from geventecho.net.accept_queue import QueueDrops
from tests.support.isolation import isolate, isolated
from tests.support.timing import wait_until


@isolated
def test_only_a_full_queue_of_this_listener_counts() -> None:
    """In a network namespace of its own, because ListenOverflows counts for all listeners of a namespace."""
    found = json.loads(isolate("dropping"))
    assert found["resets"] == [0, 0, 20]  # the kernel counts resets in the listener's own counter only
    assert found["resets, and the queue can have been full"] == [0, 0, 40]
    assert found["resets, and another queue is full"][0] == 0
    assert found["resets, and another queue is full"][1] >= 5
    assert found["full"][0] == found["overflows of the last step"][0] >= 5
    assert found["nothing new"][0] == 0


@pytest.mark.parametrize("hidden", [False, True], ids=["netstat", "hidden netstat"])
def test_drops_are_those_of_one_listener(hidden: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where /proc/net/netstat is hidden."""
    if hidden:
        monkeypatch.setattr(accept_queue, "NETSTAT", tmp_path / "netstat")
    with contextlib.ExitStack() as stack:
        full, other = (stack.enter_context(plain.create_server(("127.0.0.1", 0), backlog=2)) for _ in range(2))
        of_full, of_other = QueueDrops(full), QueueDrops(other)
        assert of_full.count(0) == 0
        for _ in range(8):
            client = stack.enter_context(plain.socket())
            client.setblocking(False)
            client.connect_ex(full.getsockname())
        counted = 0

        def enough() -> bool:
            nonlocal counted
            counted += of_full.count(0)
            return counted >= 5

        wait_until(enough)
        assert of_other.count(100) == 0


def test_a_listener_that_is_not_tcp_has_no_drops(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(tmp_path / "socket"))
        unix.listen(0)
        assert QueueDrops(unix).count(100) == 0
