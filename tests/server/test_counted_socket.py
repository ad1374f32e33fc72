"""The socket that a handler gets behaves as gevent's own in every call, and leaves no watcher armed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest
from gevent import select, socket
from gevent.exceptions import BlockingSwitchOutError, ConcurrentObjectUseError

from geventecho.server.counted_socket import CountedSocket
from geventecho.server.tcp_server import TcpServer
from tests.support.properties import given, settings, st
from tests.support.servers import LOCAL, dial, ping, running
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")

Pair = tuple[Any, socket.socket]


def make_pair(kind: Callable[..., Any]) -> Pair:
    """A socket of that class and its peer."""
    near, far = socket.socketpair()
    return kind(fileno=near.detach()), far


@pytest.fixture
def pair() -> Iterator[Pair]:
    near, far = make_pair(CountedSocket)
    with near, far:
        yield near, far


# The same as gevent's own ---------------------------------------------------------------------------------------------


def receive_into(sock: Any, size: int) -> bytes:
    buffer = bytearray(20)
    return bytes(buffer[: sock.recv_into(buffer, size)])


def send_file(sock: Any, size: int) -> int:
    return int(sock.sendfile(io.BytesIO(b"f" * size)))


def read_by_file(sock: Any, size: int) -> bytes:
    with sock.makefile("rb", buffering=0) as file:
        return bytes(file.read(size) or b"")


def receive_by_copy(sock: Any, size: int) -> bytes:
    with sock.dup() as copy:
        return bytes(copy.recv(size))


CALLS: dict[str, Callable[[Any, int], object]] = {
    "recv": lambda sock, size: sock.recv(size),
    "recv_into": receive_into,
    "recvmsg": lambda sock, size: sock.recvmsg(size)[0],
    "recvfrom": lambda sock, size: sock.recvfrom(size)[0],
    "peek": lambda sock, size: sock.recv(size, socket.MSG_PEEK),
    "read by file": read_by_file,
    "read by copy": receive_by_copy,
    "select": lambda sock, _: bool(select.select([sock], [], [], 0)[0]),
    "send": lambda sock, size: sock.send(b"s" * size),
    "sendall": lambda sock, size: sock.sendall(bytearray(size + 1)),  # for 0 bytes gevent returns 0
    "sendmsg": lambda sock, size: sock.sendmsg([b"m" * size, b"n"]),
    "sendfile": send_file,
    "set timeout": lambda sock, size: sock.settimeout(None if size > 10 else size and PATIENCE),
    "end reading": lambda sock, _: sock.shutdown(socket.SHUT_RD),
    "end writing": lambda sock, _: sock.shutdown(socket.SHUT_WR),
    "close": lambda sock, _: sock.close(),
    "read name": lambda sock, _: sock.getsockname(),
    "fileno": lambda sock, _: sock.fileno() >= 0,
}
PEER_CALLS: dict[str, Callable[[socket.socket, int], object]] = {
    "peer sends": lambda far, size: far.sendall(b"0123456789abcdefghij"[:size]),
    "peer ends": lambda far, _: far.shutdown(socket.SHUT_WR),
    "peer closes": lambda far, _: far.close(),
}


def outcome_of(call: Callable[[], object]) -> object:
    """The result of a call, or the type and arguments of its error; "waits" if it has neither within 3 ms."""

    def guarded() -> object:
        try:
            return call()
        except (OSError, ValueError) as error:
            return type(error), error.args

    greenlet = gevent.spawn(guarded)
    for _ in range(3):
        gevent.sleep(0.001)
    if not greenlet.ready():
        greenlet.kill()
        return "waits"
    return greenlet.get()


def transcript(kind: Callable[..., Any], script: list[tuple[str, int]]) -> list[object]:
    """The outcomes of calls on a socket of that class, and the bytes that its peer can read then."""
    near, far = make_pair(kind)
    found: list[object] = []
    with near, far:
        for name, size in script:
            peer_call = PEER_CALLS.get(name)
            if peer_call is not None:
                found.append(outcome_of(lambda: peer_call(far, size)))  # noqa: B023  # called at once
            else:
                found.append(outcome_of(lambda: CALLS[name](near, size)))  # noqa: B023
        found.append(outcome_of(lambda: far.recv(10_000)))
        events = near._read_event, near._write_event
        assert not any(event is not None and event.callback for event in events), "a watcher stayed armed"
    return found


@given(
    st.lists(
        st.tuples(st.sampled_from([*CALLS, *PEER_CALLS, *["recv", "peer sends"] * 4]), st.integers(0, 20)), max_size=10
    )
)
@settings(max_examples=40)
def test_every_call_has_the_outcome_that_it_has_on_a_gevent_socket(script: list[tuple[str, int]]) -> None:
    assert transcript(CountedSocket, script) == transcript(socket.socket, script)


# A greenlet that waits to read ----------------------------------------------------------------------------------------


def waiting_reader(near: Any, far: socket.socket) -> gevent.Greenlet:
    """A greenlet that has read a message and waits for the next one, with the watcher armed."""

    def read() -> object:
        assert near.recv(100) == b"first"
        return near.recv(100)

    far.sendall(b"first")
    greenlet = gevent.spawn(read)
    wait_until(lambda: near._read_event.active)
    return greenlet


@pytest.mark.parametrize("act", [lambda near: near.close(), lambda near: near.shutdown(socket.SHUT_RDWR)])
def test_a_close_by_another_greenlet_wakes_a_waiting_reader(act: Callable[[Any], object], pair: Pair) -> None:
    near, far = pair
    reader = waiting_reader(near, far)
    act(near)
    with pytest.raises(OSError, match="closed in another greenlet"):
        reader.get(timeout=PATIENCE)


@pytest.mark.parametrize("error", [gevent.Timeout(UNIT / 10), gevent.GreenletExit()])
def test_an_exception_in_a_wait_leaves_no_watcher_armed(error: BaseException, pair: Pair) -> None:
    near, far = pair
    reader = waiting_reader(near, far)
    reader.kill(error)
    assert not near._read_event.active
    far.sendall(b"next")
    assert near.recv(100) == b"next", "bytes were lost"


@pytest.mark.parametrize("timeout", [UNIT / 10, None])
def test_a_timeout_ends_a_read_of_a_socket_that_has_read_before(timeout: float | None, pair: Pair) -> None:
    near, far = pair
    far.sendall(b"first")
    assert near.recv(100) == b"first"
    near.settimeout(timeout)
    limit = gevent.Timeout(UNIT / 10 if timeout is None else PATIENCE)
    with pytest.raises(TimeoutError if timeout else gevent.Timeout), limit:
        near.recv(100)
    near.settimeout(PATIENCE)
    far.sendall(b"late")
    assert near.recv(100) == b"late"


def test_a_second_reader_is_refused_and_a_writer_is_not(pair: Pair) -> None:
    near, far = pair
    reader = waiting_reader(near, far)
    for read in (near.recv, near.recvmsg, lambda size: near.recv_into(bytearray(size))):
        with pytest.raises(ConcurrentObjectUseError):
            read(100)
    near.sendall(b"written meanwhile")
    assert far.recv(100) == b"written meanwhile"
    far.sendall(b"second")
    assert reader.get(timeout=PATIENCE) == b"second"


def test_a_callback_of_the_loop_cannot_wait(pair: Pair) -> None:
    near, far = pair
    far.sendall(b"first")
    assert near.recv(100) == b"first"
    found: list[BaseException] = []

    def callback() -> None:
        try:
            near.recv(100)
        except BlockingSwitchOutError as error:
            found.append(error)

    gevent.get_hub().loop.run_callback(callback)
    wait_until(lambda: found)
    assert not near._read_event.active


def test_a_handler_that_does_not_read_costs_no_turn_of_the_loop() -> None:
    reading = gevent.event.Event()

    def handler(sock: socket.socket, _peer: object) -> None:
        sock.sendall(sock.recv(100))
        reading.wait()
        sock.sendall(sock.recv(100))

    with running(TcpServer(LOCAL, handler)) as server, dial(server) as client:
        ping(client)
        client.sendall(b"unread")
        loop = gevent.get_hub().loop
        before, began = loop.iteration, loop.now()
        gevent.sleep(2 * UNIT)
        loop.update_now()
        assert loop.iteration - before < 100 + 200 * (loop.now() - began), "an armed watcher spins"
        reading.set()
        assert client.recv(100) == b"unread"
