"""Host names of targets: one resolution for all callers, and one time limit for all addresses."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import gevent
import pytest
from gevent import socket as gevent_socket

from geventecho import errors
from geventecho.address import Address
from geventecho.client import names
from geventecho.client.connecting import connect
from tests.support import peers
from tests.support.clients import SLACK, fails
from tests.support.timing import UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


REFUSED = ("127.0.0.1", 1)


class FakeResolver:
    """Answers with `addresses` after `delay` seconds, and counts the queries."""

    def __init__(self) -> None:
        self.addresses: list[tuple[str, int]] | Exception = []
        self.delay = 0.0
        self.asked = 0

    def getaddrinfo(self, host: str, port: int, **options: object) -> list[tuple[object, ...]]:
        self.asked += 1
        gevent.sleep(self.delay)
        if isinstance(self.addresses, Exception):
            raise self.addresses
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in self.addresses]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeResolver]:
    fake = FakeResolver()
    names.NAMES._known.clear()
    monkeypatch.setattr(gevent_socket, "getaddrinfo", fake.getaddrinfo)
    yield fake
    names.NAMES._known.clear()


def address_of(peer: peers.Peer) -> tuple[str, int]:
    return ("127.0.0.1", peer.port)


def test_a_name_is_resolved_once(resolver: FakeResolver, echo_peer: peers.Peer) -> None:
    resolver.addresses = [address_of(echo_peer)]
    for _ in range(5):
        with connect("echo.example:7") as client:
            assert client.echo(b"x") == b"x"
            assert str(client.target) == "tcp://echo.example:7"
            assert str(client.peer_address) == echo_peer.target
    assert resolver.asked == 1


def test_connects_at_the_same_time_share_one_answer(resolver: FakeResolver, echo_peer: peers.Peer) -> None:
    resolver.addresses, resolver.delay = [address_of(echo_peer)], UNIT
    jobs = [gevent.spawn(connect, "echo.example:7") for _ in range(20)]
    for job in jobs:
        job.get().close()
    assert resolver.asked == 1


def test_a_killed_greenlet_does_not_take_the_answer_from_the_others(
    resolver: FakeResolver, echo_peer: peers.Peer
) -> None:
    resolver.addresses, resolver.delay = [address_of(echo_peer)], 2 * UNIT
    first, second = gevent.spawn(connect, "echo.example:7"), gevent.spawn(connect, "echo.example:7")
    wait_until(lambda: resolver.asked)
    first.kill()
    second.get().close()
    assert resolver.asked == 1


def test_a_slow_resolver_uses_up_the_connect_timeout(resolver: FakeResolver) -> None:
    resolver.addresses, resolver.delay = [REFUSED], 4 * UNIT
    error = fails(errors.ConnectTimeout, lambda: connect("echo.example:7", timeout=UNIT), after=UNIT)
    assert error.phase == "dns"
    wait_until(lambda: not names.NAMES._lookups)


def test_a_failure_to_resolve_is_not_remembered(resolver: FakeResolver, echo_peer: peers.Peer) -> None:
    resolver.addresses = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    for _ in range(2):
        fails(errors.ResolveError, lambda: connect("echo.example:7"))
    resolver.addresses = [address_of(echo_peer)]
    connect("echo.example:7").close()
    assert resolver.asked == 3


def test_a_failed_connect_resolves_again_after_a_minute(
    resolver: FakeResolver, echo_peer: peers.Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolver.addresses = [REFUSED]
    for _ in range(3):
        fails(errors.ConnectRefused, lambda: connect("echo.example:7"))
    assert resolver.asked == 1
    monkeypatch.setattr(names, "REFRESH_AFTER", 0.0)
    resolver.addresses = [address_of(echo_peer)]
    fails(errors.ConnectRefused, lambda: connect("echo.example:7"))
    for _ in range(2):
        connect("echo.example:7").close()
    assert resolver.asked == 2


# Several addresses.


def test_the_next_address_is_tried_when_one_refuses(resolver: FakeResolver, echo_peer: peers.Peer) -> None:
    resolver.addresses = [REFUSED, address_of(echo_peer), ("127.0.0.1", 2)]
    with connect("echo.example:7") as client:
        assert str(client.peer_address) == echo_peer.target


def test_an_address_that_never_answers_leaves_time_for_the_next(resolver: FakeResolver, echo_peer: peers.Peer) -> None:
    with peers.never_accepts() as dead:
        resolver.addresses = [("127.0.0.1", Address.parse(dead).port), address_of(echo_peer)]
        began = time.monotonic()
        connect("echo.example:7", timeout=4 * UNIT).close()
        assert 2 * UNIT <= time.monotonic() - began <= 2 * UNIT + SLACK


def test_all_addresses_together_have_one_time_limit(resolver: FakeResolver) -> None:
    with peers.never_accepts() as dead:
        resolver.addresses = [("127.0.0.1", Address.parse(dead).port)] * 3
        fails(errors.ConnectTimeout, lambda: connect("echo.example:7", timeout=3 * UNIT), after=3 * UNIT)


def test_the_failures_of_the_other_addresses_are_in_the_notes(resolver: FakeResolver) -> None:
    resolver.addresses = [("127.0.0.1", 2), REFUSED]
    error = fails(errors.ConnectRefused, lambda: connect("echo.example:7"))
    assert str(error).startswith("connect tcp://echo.example:7: refused")
    assert error.__notes__ == [
        "tcp://127.0.0.1:2 before that: refused: nobody listens there; is the server running?",
    ]


def test_localhost_connects_although_its_first_address_refuses(echo_peer: peers.Peer) -> None:
    # On most machines its first address is ::1, where no server listens.
    with connect(("localhost", echo_peer.port)) as client:
        assert client.echo(b"x") == b"x"
