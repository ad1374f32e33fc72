"""The client among greenlets: closed, killed and timed out while it waits; in patched and unpatched processes."""

from __future__ import annotations

import random
import select
import socket
from collections.abc import Callable
from pathlib import Path

import gevent
import pytest

from geventecho import errors
from geventecho.client.client import Client
from geventecho.client.connecting import connect
from geventecho.framing import Exactly, NoReply, UntilQuiet
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
    ids=["recv", "echo", "large echo", "send", "receive"],
)
def test_closing_wakes_a_call_that_waits(how: str, wait: Callable[[Client], object]) -> None:
    with connected_to(peers.never_reads()) as client:
        gevent.spawn_later(UNIT, getattr(client, how))
        fails(errors.ClosedLocally, lambda: wait(client), after=UNIT)
        assert client.closed


def test_one_greenlet_reads_while_another_one_writes(client: Client) -> None:
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
    ids=["recv_exactly", "receive", "64 pieces"],
)
def test_a_reader_does_not_disturb_a_writer_that_waits(client: Client, receive: Callable[[Client, int], bytes]) -> None:
    payload = random.Random(7).randbytes(32 * MIB)
    writer = gevent.spawn(client.send, payload, timeout=60 * SCALE)
    wait_until(lambda: client._wire._write_event.callback is not None)
    assert receive(client, len(payload)) == payload
    writer.get(timeout=PATIENCE)


READS: dict[str, Callable[[Client], object]] = {
    "recv": lambda client: client.recv(),
    "echo": lambda client: client.echo(b"x" * 10),
    "large echo": lambda client: client.echo(bytes(MIB)),
    "request": lambda client: client.request(b"x" * 10, Exactly(10)),
    "receive": lambda client: client.receive(Exactly(10)),
}


@pytest.mark.parametrize("data_waits", [False, True], ids=["no data", "data waits"])
@pytest.mark.parametrize("second", READS)
@pytest.mark.parametrize("first", READS)
def test_a_second_reader_is_refused_before_it_reads(client: Client, first: str, second: str, data_waits: bool) -> None:
    """The reply of the first call may have arrived while its greenlet is not yet awake."""
    reader = gevent.spawn(READS[first], client)
    gevent.sleep(0)  # the reader runs until it waits
    if first in ("recv", "receive"):
        client.send(b"0123456789")
    if data_waits:
        select.select([client.fileno()], [], [], PATIENCE)  # the echo arrives, and the event loop does not run
    sent, received = client.bytes_sent, client.bytes_received
    with pytest.raises(errors.ConcurrentUse):
        READS[second](client)
    assert (client.bytes_sent, client.bytes_received) == (sent, received)
    assert bytes(reader.get(timeout=PATIENCE) or b"")[:1] in (b"0", b"x", b"\0")
    assert client.echo(b"in step") == b"in step"


WRITES: tuple[Callable[[Client], object], ...] = (
    lambda client: client.send(b"x"),
    lambda client: client.echo(b"x"),
    lambda client: client.echo(bytes(MIB)),
    lambda client: client.request(b"x", Exactly(1)),
    lambda client: client.request(b"x", NoReply()),
)


def test_a_second_writer_is_refused_before_it_writes() -> None:
    with connected_to(peers.never_reads()) as client:
        writer = gevent.spawn(client.send, bytes(64 * MIB))
        wait_until(lambda: client._wire._write_event.callback is not None)
        for second in WRITES:
            sent = client.bytes_sent
            with pytest.raises(errors.ConcurrentUse):
                second(client)
            assert client.bytes_sent == sent
        assert not writer.dead
        writer.kill()


def test_a_writer_during_an_echo_is_refused(client: Client) -> None:
    payload = random.Random(9).randbytes(32 * MIB)
    first = gevent.spawn(client.echo, payload, timeout=60 * SCALE)
    wait_until(lambda: client._wire._write_event.callback is not None)
    with pytest.raises(errors.ConcurrentUse):
        client.send(b"x")
    first.get(timeout=60 * SCALE)
    client.send(b"after it")
    assert client.recv_exactly(8) == b"after it"


@pytest.mark.parametrize("cut", ["timeout", "gevent.Timeout", "kill"])
def test_a_send_that_was_cut_leaves_a_torn_stream(cut: str) -> None:
    size = 64 * MIB
    with connected_to(peers.never_reads()) as client:
        if cut == "timeout":
            fails(errors.WriteTimeout, lambda: client.send(bytes(size), timeout=UNIT), after=UNIT)
        elif cut == "gevent.Timeout":
            with pytest.raises(gevent.Timeout), gevent.Timeout(UNIT):
                client.send(bytes(size))
        else:
            sender = gevent.spawn(client.send, bytes(size))
            wait_until(lambda: client._wire._write_event.callback is not None)
            sender.kill()
        sent = client.bytes_sent
        assert 0 < sent < size
        for write in WRITES:
            error = fails(errors.TornStream, lambda: write(client))  # noqa: B023
            assert f"cut after {sent} of its {size} bytes" in str(error)
        fails(errors.ReadTimeout, lambda: client.recv(timeout=UNIT), after=UNIT)
        assert client.bytes_sent == sent
        client.close()
        fails(errors.ClosedLocally, lambda: client.send(b"x"))


def test_the_echo_of_a_cut_send_can_be_received(client: Client) -> None:
    with pytest.raises(errors.WriteTimeout):
        client.send(bytes(64 * MIB), timeout=UNIT)
    assert client.recv_exactly(client.bytes_sent) == bytes(client.bytes_sent)
    fails(errors.TornStream, lambda: client.echo(b"x"))


def test_a_send_of_which_no_byte_was_taken_does_not_tear_the_stream(tmp_path: Path) -> None:
    path = str(tmp_path / "peer")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with connect(f"unix:{path}") as client:
            while client._wire.write_now(bytes(4096)):
                pass
            for _ in range(2):
                fails(errors.WriteTimeout, lambda: client.send(b"x", timeout=UNIT), after=UNIT)


@pytest.mark.parametrize(
    "killer",
    [gevent.GreenletExit, gevent.Timeout(1), KeyError("from outside")],
    ids=["GreenletExit", "Timeout", "KeyError"],
)
@pytest.mark.parametrize(
    "wait",
    [lambda client: client.recv(), lambda client: client.echo(b"x"), lambda client: client.send(bytes(64 * MIB))],
    ids=["recv", "echo", "send"],
)
def test_an_exception_thrown_into_a_call_leaves_no_watcher_active(
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
        wait_until(lambda: not nothing_armed(client))
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
        counter.kill()  # it would slow down every later test
    assert turns > 16


def test_100_clients_echo_at_the_same_time(echo_peer: peers.Peer) -> None:
    def work(number: int) -> int:
        with connect(echo_peer.target) as client:
            for turn in range(20):
                client.echo(b"%d:%d" % (number, turn) * 50)
            return client.bytes_received

    jobs = [gevent.spawn(work, number) for number in range(100)]
    assert all(job.get() for job in jobs)
    assert echo_peer.accepted == 100
    wait_until(lambda: echo_peer.open == 0)


# Patched and unpatched processes.


@pytest.mark.parametrize("process", ["unpatched", "patched", "patched late"])
def test_the_client_works_in_patched_and_unpatched_processes(echo_peer: peers.Peer, process: str) -> None:
    assert run("tests.client.scripts.patched", echo_peer.target, process) == "done\n"


def test_a_client_without_references_closes_its_connection(echo_peer: peers.Peer) -> None:
    client = connect(echo_peer.target)
    client.echo(b"x")
    clients = [client]
    del client
    with pytest.warns(ResourceWarning, match="unclosed"):
        clients.clear()
    wait_until(lambda: echo_peer.open == 0)
