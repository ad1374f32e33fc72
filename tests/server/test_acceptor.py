"""The accept loop distinguishes a bad peer, a process without descriptors and a broken listener."""

from __future__ import annotations

import errno
import gc
import os
import resource
import socket as plain
import struct
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import gevent
import pytest
from gevent import socket

from geventecho.address import Address, SockAddr
from geventecho.net.accept_queue import QueueDrops
from geventecho.server.acceptor import PAUSE, Acceptor
from geventecho.server.counters import Refusal
from geventecho.server.listener import listen
from geventecho.server.registry import Registry
from tests.support.servers import is_refused
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")
RST = struct.pack("ii", 1, 0)


class Flaky:
    """A listener whose next accepts fail with the given errors; 0 is no error."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.errors: list[int] = []
        self.tries = 0

    def _accept(self) -> tuple[int, SockAddr]:
        self.tries += 1
        if self.errors:
            number = self.errors.pop(0)
            if number:
                raise OSError(number, os.strerror(number))
        return self.listener._accept()  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> object:
        return getattr(self.listener, name)


@dataclass
class Accepting:
    """An acceptor with a registry that records its calls."""

    max_connections: int = 100
    refusal: Refusal | None = None
    delivered: list[socket.socket] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    errors: list[OSError] = field(default_factory=list)
    drops: list[int] = field(default_factory=list)
    open: tuple[()] = ()
    backlog: int = 100

    def __post_init__(self) -> None:
        listener, self.address, _ = listen(Address.parse("127.0.0.1:0"), backlog=self.backlog)
        self.acceptor = Acceptor(listener, cast(Registry, self), socket.socket, deque())
        self.acceptor.start()
        self.listener = self.acceptor.socket = Flaky(self.acceptor.socket)
        self.closed = False

    # The registry, as the acceptor calls it.

    def free_slots(self) -> int:
        return self.max_connections - len(self.delivered)

    def admit(self, _sockaddr: SockAddr) -> Refusal | None:
        return self.refusal

    def add(self, sock: socket.socket, _sockaddr: SockAddr) -> None:
        self.delivered.append(sock)

    def refused(self, _sockaddr: SockAddr, refusal: Refusal) -> None:
        self.refusals.append(refusal)

    def accept_failed(self, error: OSError) -> None:
        self.errors.append(error)

    def dropped(self, count: int) -> None:
        self.drops.append(count)

    # For the tests.

    def connect(self) -> plain.socket:
        return plain.create_connection((self.address.host, self.address.port), PATIENCE)

    def shut(self) -> None:
        if not self.closed:
            self.closed = True
            self.acceptor.shut()


@contextmanager
def accepting(max_connections: int = 100, refusal: Refusal | None = None, backlog: int = 100) -> Iterator[Accepting]:
    found = Accepting(max_connections, refusal, backlog=backlog)
    try:
        yield found
    finally:
        found.shut()
        for sock in found.delivered:
            sock.close()


def test_an_accepted_connection_is_given_to_the_registry() -> None:
    with accepting() as found, found.connect() as client:
        wait_until(lambda: found.delivered)
        assert found.delivered[0].getpeername() == client.getsockname()
        assert (found.errors, found.refusals) == ([], [])


@pytest.mark.parametrize(
    "number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ETIMEDOUT]
)
def test_an_error_of_a_peer_costs_no_pause(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    with accepting() as found:
        found.listener.errors = [number] * 20
        began = time.monotonic()
        with found.connect():
            wait_until(lambda: found.delivered)
        assert time.monotonic() - began < 10 * PAUSE, "gevent's own loop pauses for 10 ms, doubling to 1 s"
        assert (found.errors, found.refusals) == ([], [])
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE])
def test_without_descriptors_all_queued_peers_are_refused_at_once(number: int) -> None:
    with accepting() as found:
        clients = [found.connect() for _ in range(5)]
        found.listener.errors = [number]
        wait_until(lambda: len(found.refusals) == 5)
        assert found.refusals == [Refusal.NO_DESCRIPTOR] * 5
        assert [error.errno for error in found.errors] == [number]
        for client in clients:
            assert client.recv(1) == b""
            client.close()
        assert not found.delivered
        with found.connect():
            wait_until(lambda: found.delivered)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOBUFS, errno.EINVAL])
def test_an_error_that_only_time_ends_causes_a_pause(number: int) -> None:
    with accepting() as found:
        found.listener.errors = [number] * 3
        with found.connect():
            began = time.monotonic()
            wait_until(lambda: found.delivered)
        assert 2.5 * PAUSE <= time.monotonic() - began <= 3 * PAUSE + 10 * UNIT
        assert [error.errno for error in found.errors] == [number] * 3
        assert found.listener.tries < 10


def test_a_listener_that_another_process_has_shut_down_is_left_alone() -> None:
    with accepting() as found:
        found.acceptor._accept_later = lambda _load: False
        found.listener.errors = [errno.EINVAL] * 100
        with found.connect():
            wait_until(lambda: found.listener.tries)
            gevent.sleep(UNIT)
        assert (found.listener.tries, found.errors, found.delivered) == (1, [], [])


def test_no_peer_is_accepted_in_a_pause_while_admitted_peers_wait() -> None:
    with accepting() as found:
        found.acceptor.max_accept = 1  # a turn of the loop for each client
        clients = [found.connect() for _ in range(20)]
        found.listener.errors = [0] * len(clients) + [errno.ENOMEM] * 100
        began = time.monotonic()
        wait_until(lambda: len(found.delivered) == len(clients))
        assert time.monotonic() - began < PAUSE, "the admitted peers waited for the end of the pause"
        assert [error.errno for error in found.errors] == [errno.ENOMEM]
        assert found.listener.tries == len(clients) + 1
        for client in clients:
            client.close()


def test_without_a_reserve_descriptor_the_loop_pauses_and_opens_one_later() -> None:
    with accepting() as found:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        client = found.connect()
        found.acceptor._release_reserve()
        gc.collect()  # else a descriptor that an earlier test forgot may become free meanwhile
        hogs = [os.open(os.devnull, os.O_RDONLY)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hogs[0] + 1, hard))
            wait_until(lambda: found.errors)
            tries = found.listener.tries
            gevent.sleep(3 * PAUSE)
            assert found.listener.tries <= tries + 6, "the loop spins"
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            os.close(hogs[0])
        wait_until(lambda: found.delivered)
        assert found.acceptor._reserve is not None
        client.close()


def test_shut_during_a_pause_delivers_the_queue(capfd: pytest.CaptureFixture[str]) -> None:
    with accepting() as found:
        found.listener.errors = [errno.ENOMEM]
        client = found.connect()
        wait_until(lambda: found.errors)
        found.shut()
        assert found.delivered
        gevent.sleep(2 * PAUSE)  # the pause ends, and nothing may happen
        client.close()
    assert capfd.readouterr().err == ""


def test_a_refused_peer_is_closed_at_once() -> None:
    with accepting(refusal=Refusal.DENIED) as found, found.connect() as client:
        wait_until(lambda: found.refusals)
        assert client.recv(1) == b""
        assert found.refusals == [Refusal.DENIED]
        assert not found.delivered


def test_a_peer_at_a_full_server_is_closed_at_once() -> None:
    with accepting(max_connections=1) as found, found.connect():
        wait_until(lambda: found.delivered)
        for turn in range(1, 6):
            with found.connect() as client:
                wait_until(lambda turn=turn: len(found.refusals) == turn)  # type: ignore[misc]
                assert client.recv(1) == b""
        assert found.refusals == [Refusal.FULL] * 5


def test_a_connect_that_the_kernel_drops_is_counted_once() -> None:
    with accepting(backlog=2) as found:
        clients = []
        for _ in range(9):  # the hub does not run: no peer is accepted meanwhile
            clients.append(plain.socket())
            clients[-1].setblocking(False)
            clients[-1].connect_ex((found.address.host, found.address.port))
        wait_until(lambda: found.drops)
        assert 5 <= sum(found.drops) <= 6
        for client in clients:
            client.close()
        drops = QueueDrops(found.acceptor._listener)
        with found.connect():
            wait_until(lambda: len(found.delivered) >= 4)
        assert 5 <= sum(found.drops) <= 6 + drops.count(100)
        assert (found.errors, found.refusals) == ([], [])


def test_shut_delivers_the_queue_and_refuses_later_connects() -> None:
    with accepting() as found:
        clients = [found.connect() for _ in range(10)]
        assert not found.delivered
        began = time.monotonic()
        found.shut()
        assert time.monotonic() - began < 3 * UNIT, "shut waited"
        assert len(found.delivered) == 10
        assert is_refused(found.address)
        for client in clients:
            client.close()


def test_shut_skips_peers_that_are_gone() -> None:
    with accepting() as found:
        clients = [found.connect() for _ in range(3)]
        found.listener.errors = [errno.ECONNABORTED, errno.EPROTO]
        found.shut()
        assert len(found.delivered) == 3
        for client in clients:
            client.close()
