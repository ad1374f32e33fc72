"""Metrics of several processes: any worker answers for all, and no counter ever becomes smaller."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
from collections.abc import Iterator

import gevent
import pytest

from geventecho.address import Address
from tests.support.scraping import get, metrics_of, scrape
from tests.support.servers import Process, ping, serve
from tests.support.timing import wait_until
from tests.support.workers import workers

pytestmark = pytest.mark.faults


@contextlib.contextmanager
def watched(metrics: Address) -> Iterator[list[dict[str, float]]]:
    """Scrapes during the block; no counter may become smaller. A killed worker may leave a scrape unanswered."""
    found: list[dict[str, float]] = []

    def run() -> None:
        while True:
            with contextlib.suppress(ConnectionResetError):
                found.append(scrape(metrics))
            gevent.sleep(0.02)

    scraping = gevent.spawn(run)
    yield found
    scraping.kill()
    assert scraping.exception is None, scraping.exception
    for before, after in itertools.pairwise(found):
        for name, value in before.items():
            if name.partition("{")[0].endswith("_total"):
                assert after[name] >= value, name


@contextlib.contextmanager
def echoing(server: Process) -> Iterator[None]:
    """Clients that connect, echo and close during the block. The clients of a killed worker are reset."""

    def run() -> None:
        while True:
            with contextlib.suppress(OSError), server.connect() as client:
                for _ in range(10):
                    client.sendall(b"x" * 100)
                    assert not client.recv(100).strip(b"x")  # empty at the FIN of a killed worker
                    gevent.sleep(0.001)

    clients = [gevent.spawn(run) for _ in range(8)]
    yield
    gevent.killall(clients)
    assert [client.exception for client in clients] == [None] * 8


def reload_and_kill(server: Process, found: list[dict[str, float]], restarts: int) -> None:
    """Replace all workers by a reload, and kill a new one."""
    old = set(workers(server))
    server.signal(signal.SIGHUP)
    wait_until(lambda: len(workers(server)) == 2 and not old & set(workers(server)))
    wait_until(lambda: found[-1]["geventecho_workers{listening}"] == 2)
    os.kill(workers(server)[0], signal.SIGKILL)
    wait_until(lambda: found[-1]["geventecho_worker_restarts_total"] == restarts)
    wait_until(lambda: found[-1]["geventecho_workers{listening}"] == 2)


def test_counters_only_grow_while_workers_die_and_are_reloaded() -> None:
    with serve("--workers", "2", "--metrics", "0") as server:
        metrics = metrics_of(server)
        with echoing(server), watched(metrics) as found:
            for restarts in (1, 2):
                reload_and_kill(server, found, restarts)
        assert found[-1]["geventecho_bytes_received_total"] > found[0]["geventecho_bytes_received_total"]
        wait_until(lambda: scrape(metrics)["geventecho_connections_open"] == 0)
        last = scrape(metrics)
        told = {name: last[f"geventecho_bytes_{name}_total"] for name in ("sent", "undelivered", "discarded", "lost")}
        assert last["geventecho_bytes_received_total"] == (
            told["sent"] - told["undelivered"] + told["discarded"] + told["lost"]
        )


def test_the_last_worker_answers_to_its_end_and_is_not_ready() -> None:
    with serve("--workers", "2", "--metrics", "0", "--drain-idle", "20") as server, server.connect() as client:
        metrics = metrics_of(server)
        ping(client)
        assert get(metrics, "/readyz").status == 200
        server.signal()
        wait_until(lambda: get(metrics, "/readyz").status == 503)
        wait_until(lambda: scrape(metrics)["geventecho_workers{draining}"] == 1, goal="the end of the idle worker")
        assert scrape(metrics)["geventecho_connections_open"] == 1
        client.close()
        assert server.wait() == 0
        assert server.errors == ""
