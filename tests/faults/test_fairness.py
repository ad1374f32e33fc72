"""Scenarios of sharing a server: a limit of connections, a limit for each address, and pings beside floods."""

from __future__ import annotations

import time

import gevent
import pytest

from tests.support.servers import ping
from tests.support.timing import UNIT, figure, median_of, wait_until
from tests.support.watch import MIB, Counted, ask, counted, program, witness

pytestmark = pytest.mark.faults


def test_a_full_server_refuses_at_once_and_reuses_a_freed_slot() -> None:
    with counted(max_connections=51) as server, witness(server) as sight:
        clients = [server.connect() for _ in range(80)]
        served, began = [], time.monotonic()
        for client in clients:
            try:
                ping(client)
                served.append(client)
            except (AssertionError, ConnectionError):
                client.close()
        assert len(served) == 50
        assert time.monotonic() - began < 10 * UNIT, "a client was not refused at once"
        found = server.counters()
        assert (found["refused_full"], found["open"], found["peak"]) == (30, 51, 51)
        served.pop().close()
        began = time.monotonic()
        while not ask(server)[0]:
            pass
        took = time.monotonic() - began
        figure("a freed slot is used after, ms", round(1000 * took, 1))
        assert took < 5 * UNIT
        refused = server.wait_for(open=50)["refused_full"]
        figure("refused of 80 with room for 50", found["refused_full"])
        assert refused <= 31 + 100
        for client in served:
            client.close()
        wait_until(lambda: server.counters()["open"] == 1)
    assert sight.gap < 1000


def test_an_address_at_its_limit_takes_no_slot_of_other_addresses() -> None:
    with counted(max_per_address=10) as server, witness(server) as sight:
        greedy = [server.plain_connect(source_address=("127.0.0.2", 0)) for _ in range(50)]
        done = [ask_from(server, f"127.0.0.{number}") for number in (3, 4, 5, 6) for _ in range(25)]
        figure("other addresses served beside one that is full", f"{sum(done)} of {len(done)}")
        assert all(done)
        assert server.wait_for(open=11)["refused_address_full"] == 40
        for client in greedy:
            client.close()
        wait_until(lambda: server.counters()["open"] == 1)
        assert ask_from(server, "127.0.0.2")
    assert sight.gap < 1000


def ask_from(server: Counted, source: str) -> bool:
    with server.plain_connect(source_address=(source, 0)) as client:
        client.sendall(b"ping")
        return client.recv(4) == b"ping"


@pytest.mark.parametrize("floods", [pytest.param(1, marks=pytest.mark.long), 8])
@pytest.mark.alone
@pytest.mark.parametrize("handler", [None, "plain"], ids=["echo", "handler"])
def test_pings_beside_floods_are_answered_soon(handler: str | None, floods: int) -> None:
    def once() -> float:
        with counted(handler=handler) as server:
            with program("flooding", server.address.host, str(server.address.port), str(floods)):
                wait_until(lambda: server.counters()["bytes_received"] > 10 * MIB)
                before, began = server.counters()["bytes_received"], time.monotonic()
                with witness(server) as sight:
                    gevent.sleep(7 * UNIT)
                passed = server.counters()["bytes_received"] - before
                rate = passed / (time.monotonic() - began) / 1e6
            server.wait_for(open=0)
        load = f"{floods} floods, {handler or 'echo'}"
        figure(f"witness p50/p95/p99/max beside {load}, ms", f"{sight.p50}/{sight.p95}/{sight.p99}/{sight.max}")
        figure(f"MB a second beside {load}", round(rate))
        return sight.p95  # the slowest pings of a hundred wait for time slices of the flooding processes

    median_of(3, once, 15, f"witness p95 beside {floods} floods, {handler or 'echo'}, ms")
