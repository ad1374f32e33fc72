"""The client among greenlets: closed, killed and timed out while it waits; in patched and unpatched processes."""

from __future__ import annotations

import random
from collections.abc import Callable

import gevent
import pytest
from gevent.exceptions import ConcurrentObjectUseError

from geventecho import errors
from geventecho.client.client import Client, connect
from geventecho.framing import Exactly, UntilQuiet
from tests.support import peers
from tests.support.clients import MIB, connected_to, fails, nothing_armed, run
from tests.support.timing import PATIENCE, SCALE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


# Greenlets.


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize(
    "wait",
    [
        lambda client: client.recv(),
        lambda client: client.echo(b"x"),
        lambda client: client.echo(bytes(64 * MIB)),
        lambda client: client.send(bytes(64 * MIB)),
        lambda client: client.receive(UntilQuiet(UNIT)),
    ],
)
def test_closing_wakes_whoever_waits(how: str, wait: Callable[[Client], object]) -> None:
    with connected_to(peers.never_reads()) as client:
        gevent.spawn_later(UNIT, getattr(client, how))
        fails(errors.ClosedLocally, lambda: wait(client), after=UNIT)
        assert client.closed


def test_one_reader_and_one_writer(client: Client) -> None:
    payload = random.Random(4).randbytes(16 * MIB)
    writer = gevent.spawn(client.send, payload, timeout=60 * SCALE)
    assert client.recv_exactly(len(payload), timeout=60 * SCALE) == payload
    writer.get()


@pytest.mark.parametrize(
    "receive",
    [
        lambda client, count: client.recv_exactly(count),
        lambda client, count: client.receive(Exactly(count)),
        lambda client, count: b"".join(client.recv_exactly(count // 64) for _ in range(64)),
    ],
)
def test_a_reader_does_not_disturb_a_writer_that_waits(client: Client, receive: Callable[[Client, int], bytes]) -> None:
    payload = random.Random(7).randbytes(32 * MIB)
    writer = gevent.spawn(client.send, payload, timeout=60 * SCALE)
    wait_until(lambda: client._wire._write_event.callback is not None)
    assert receive(client, len(payload)) == payload
    writer.get(timeout=PATIENCE)


def test_two_readers_are_told_so_and_the_first_goes_on(client: Client) -> None:
    first = gevent.spawn(client.recv)
    gevent.sleep(0)
    calls: tuple[Callable[[], object], ...] = (
        client.recv,
        lambda: client.echo(b"x"),
        lambda: client.receive(Exactly(1)),
    )
    for call in calls:
        with pytest.raises(ConcurrentObjectUseError):
            call()
    client.send(b"for the first")
    assert first.get(timeout=PATIENCE) == b"for the first"


@pytest.mark.parametrize("killer", [gevent.GreenletExit, gevent.Timeout(1), KeyError("from outside")])
@pytest.mark.parametrize(
    "wait",
    [lambda client: client.recv(), lambda client: client.echo(b"x"), lambda client: client.send(bytes(64 * MIB))],
)
def test_an_exception_thrown_into_a_waiter_leaves_nothing_armed(
    killer: BaseException | type[BaseException], wait: Callable[[Client], object]
) -> None:
    with connected_to(peers.never_reads()) as client:
        ended: list[BaseException] = []

        def work() -> None:
            try:
                wait(client)
            except BaseException as error:
                ended.append(error)

        waiter = gevent.spawn(work)
        gevent.sleep(UNIT / 2)
        assert not nothing_armed(client)
        waiter.kill(killer)
        assert len(ended) == 1
        assert isinstance(ended[0], killer if isinstance(killer, type) else type(killer))
        assert nothing_armed(client)


def test_a_gevent_timeout_ends_a_call(client: Client) -> None:
    with pytest.raises(gevent.Timeout), gevent.Timeout(UNIT):
        client.recv()
    assert nothing_armed(client)
    assert client.echo(b"x") == b"x"


def test_other_greenlets_run_during_a_long_echo(client: Client) -> None:
    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            gevent.sleep(0)
            turns += 1

    counter = gevent.spawn(count)
    try:
        client.echo(bytes(4 * MIB))
    finally:
        counter.kill()  # left alone it would slow down every later test
    assert turns > 16


def test_many_clients_at_once(honest: peers.Peer) -> None:
    def work(number: int) -> int:
        with connect(honest.target) as client:
            for turn in range(20):
                client.echo(b"%d:%d" % (number, turn) * 50)
            return client.bytes_received

    jobs = [gevent.spawn(work, number) for number in range(100)]
    assert all(job.get() for job in jobs)
    assert honest.accepted == 100
    wait_until(lambda: honest.open == 0)


# Processes, patched and not.


@pytest.mark.parametrize("process", ["unpatched", "patched", "patched late"])
def test_patched_and_unpatched_processes_alike(honest: peers.Peer, process: str) -> None:
    assert run("tests.client.scripts.patched", honest.target, process) == "done\n"


def test_a_client_that_is_forgotten_keeps_nothing(honest: peers.Peer) -> None:
    client = connect(honest.target)
    client.echo(b"x")
    clients = [client]
    del client
    with pytest.warns(ResourceWarning, match="unclosed"):
        clients.clear()
    wait_until(lambda: honest.open == 0)
