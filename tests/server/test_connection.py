"""One connection: its end by `end` and `cut`, and the socket that counts for a handler."""

from __future__ import annotations

import array
from collections.abc import Callable, Iterator

import gevent
import pytest
from gevent import socket

from geventecho.server.connection import Clock, Connection, Cut, Ended, Phase
from geventecho.server.counted_socket import TURN, CountedSocket
from geventecho.server.counters import Ending, Traffic
from geventecho.server.tcp_server import TcpServer
from tests.support.servers import LOCAL, dial, ping, read_exactly, read_to_end, running
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


@pytest.fixture
def connection() -> Iterator[Connection]:
    near, far = socket.socketpair()
    with near, far:
        yield Connection(near, ("127.0.0.1", 1), Clock(), Traffic())


def serve(connection: Connection, body: Callable[[], object]) -> list[object]:
    """Run `body` as the connection's greenlet; returns a list that gets its result or the type of its exception."""
    outcome: list[object] = []

    def run() -> None:
        connection.greenlet = gevent.getcurrent()
        connection.phase = Phase.OPEN
        try:
            outcome.append(body())
        except BaseException as error:
            outcome.append(type(error))
        finally:
            connection.greenlet = None

    gevent.spawn_raw(run)
    gevent.sleep(0)
    return outcome


def test_end_throws_once_and_keeps_the_first_reason(connection: Connection) -> None:
    outcome = serve(connection, lambda: gevent.sleep(PATIENCE))
    connection.end(Ending.IDLE)
    connection.end(Ending.CUT)
    assert outcome == [], "the exception is thrown by the caller, not by the hub"
    wait_until(lambda: outcome)
    assert outcome == [Ended]
    assert connection.end_reason is Ending.IDLE


def test_end_can_be_called_by_the_connection_itself(connection: Connection) -> None:
    def body() -> None:
        connection.end(Ending.IDLE)
        gevent.sleep(PATIENCE)

    outcome = serve(connection, body)
    wait_until(lambda: outcome)
    assert outcome == [Ended]


def test_end_and_cut_do_not_throw_into_a_connection_that_has_not_begun(connection: Connection) -> None:
    connection.end(Ending.DRAINED)
    connection.cut()
    gevent.sleep(UNIT)
    assert connection.end_reason is Ending.DRAINED
    assert connection.phase is Phase.NEW


@pytest.mark.parametrize("phase", [Phase.ENDING, Phase.CLOSED])
def test_an_ending_connection_can_only_be_cut_and_a_closed_one_only_returns(
    connection: Connection, phase: Phase
) -> None:
    outcome = serve(connection, lambda: gevent.sleep(5 * UNIT))
    connection.phase = phase
    connection.end(Ending.IDLE)
    gevent.sleep(UNIT)
    assert outcome == []
    connection.cut()
    wait_until(lambda: outcome)
    assert outcome == [Cut if phase is Phase.ENDING else None]


def test_an_end_is_a_greenlet_exit_that_no_except_exception_stops() -> None:
    assert issubclass(Cut, Ended)
    assert issubclass(Ended, gevent.GreenletExit)
    assert not issubclass(Ended, Exception)


def test_info_is_a_snapshot(connection: Connection) -> None:
    connection.echoed, connection.read, connection.written, connection.discarded = 4, 6, 3, 5
    info = connection.info()
    assert str(info.peer) == "tcp://127.0.0.1:1"
    assert (info.bytes_received, info.bytes_sent, info.phase) == (15, 7, Phase.NEW)
    assert connection.owed == 3
    connection.echoed = 100
    assert info.bytes_received == 15


# The socket a handler gets --------------------------------------------------------------------------------------------


def count_with(handler: Callable[[socket.socket], object], payload: bytes, reply: bytes) -> tuple[int, int]:
    """Bytes each way as the server counts them, for a client that sends `payload` and expects `reply`."""
    with running(TcpServer(LOCAL, lambda sock, _: handler(sock))) as server, dial(server) as client:
        client.sendall(payload)
        client.shutdown(socket.SHUT_WR)
        assert read_to_end(client) == reply
        wait_until(lambda: not server.connection_count)
        return server.counters["bytes_received"], server.counters["bytes_sent"]


def receive_into(sock: socket.socket) -> None:
    buffer = bytearray(10)
    while sock.recv_into(buffer):
        pass


def receive_messages(sock: socket.socket) -> None:
    while sock.recvmsg(10)[0]:
        pass


def receive_from(sock: socket.socket) -> None:
    while sock.recvfrom(10)[0]:
        pass


def receive_from_into(sock: socket.socket) -> None:
    buffer = bytearray(10)
    while sock.recvfrom_into(buffer)[0]:
        pass


def receive_messages_into(sock: socket.socket) -> None:
    buffers = [bytearray(4), bytearray(6)]
    while sock.recvmsg_into(buffers)[0]:
        pass


def read_lines(sock: socket.socket) -> None:
    with sock.makefile("rwb") as file:
        for line in file:
            file.write(line.upper())
            file.flush()


def peek(sock: socket.socket) -> None:
    assert sock.recv(3, socket.MSG_PEEK) == b"abc"
    buffer = bytearray(3)
    assert sock.recv_into(buffer, 3, socket.MSG_PEEK) == 3
    assert sock.recvmsg(3, 0, socket.MSG_PEEK)[0] == b"abc"
    assert sock.recvmsg_into([buffer], 0, socket.MSG_PEEK)[0] == 3
    assert sock.recvfrom(3, socket.MSG_PEEK)[0] == b"abc"
    assert sock.recvfrom_into(buffer, 3, socket.MSG_PEEK)[0] == 3
    sock.recv(3)


@pytest.mark.parametrize(
    ("handler", "payload", "reply", "counted"),
    [
        (lambda sock: sock.sendall(sock.recv(100)), b"abc", b"abc", (3, 3)),
        (lambda sock: sock.send(sock.recv(100)), b"abc", b"abc", (3, 3)),
        (lambda sock: sock.sendmsg([sock.recv(100), b"more"], flags=0), b"abc", b"abcmore", (3, 7)),
        (receive_into, b"x" * 95, b"", (95, 0)),
        (receive_messages, b"x" * 95, b"", (95, 0)),
        (receive_from, b"x" * 95, b"", (95, 0)),
        (receive_from_into, b"x" * 95, b"", (95, 0)),
        (receive_messages_into, b"x" * 95, b"", (95, 0)),
        (read_lines, b"one\ntwo\n", b"ONE\nTWO\n", (8, 8)),
        (peek, b"abc", b"", (3, 0)),
        (lambda sock: sock.sendto(sock.recv(100), sock.getpeername()), b"abc", b"abc", (3, 3)),
        (lambda sock: sock.sendall(b"y" * (4 << 20)), b"", b"y" * (4 << 20), (0, 4 << 20)),
        (lambda sock: sock.sendall(array.array("q", [-1]) * (1 << 19)), b"", b"\xff" * (4 << 20), (0, 4 << 20)),
    ],
    ids=[
        "recv",
        "send",
        "sendmsg",
        "recv_into",
        "recvmsg",
        "recvfrom",
        "recvfrom_into",
        "recvmsg_into",
        "makefile",
        "peek",
        "sendto",
        "large",
        "large array",
    ],
)
def test_every_way_of_a_handler_to_read_and_write_is_counted(
    handler: Callable[[socket.socket], object], payload: bytes, reply: bytes, counted: tuple[int, int]
) -> None:
    assert count_with(handler, payload, reply) == counted


def test_bytes_through_a_copy_of_the_socket_are_not_counted() -> None:
    def handler(sock: socket.socket) -> None:
        with sock.dup() as copy:
            copy.sendall(b"uncounted")

    assert count_with(handler, b"", b"uncounted") == (0, 0)


def test_a_counted_socket_without_a_connection_is_an_ordinary_socket() -> None:
    near, far = socket.socketpair()
    with CountedSocket(fileno=near.detach()) as counted, far:
        far.sendall(b"x")
        assert counted.recv(1) == b"x"
        assert counted.account.connection is None
        assert isinstance(counted, socket.socket)


def test_reading_and_writing_count_as_progress() -> None:
    def handler(sock: socket.socket, _peer: object) -> None:
        while data := sock.recv(100):
            sock.sendall(data)

    with running(TcpServer(LOCAL, handler, idle_timeout=4 * UNIT)) as server, dial(server) as client:
        for _ in range(10):
            ping(client)
            gevent.sleep(UNIT)
        assert server.connection_count == 1


@pytest.fixture
def counted() -> Iterator[tuple[CountedSocket, socket.socket]]:
    """A handler's socket, and its peer, which has sent 3 * TURN bytes."""
    near, far = socket.socketpair()
    with CountedSocket(fileno=near.detach()) as ours, far:
        for sock in (ours, far):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        far.sendall(b"x" * 3 * TURN)
        yield ours, far


def turns_of_others(call: Callable[[], object]) -> int:
    """How often another greenlet runs during a call."""
    turns = 0

    def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            gevent.sleep(0)

    greenlet = gevent.spawn(other)
    gevent.sleep(0)
    before = turns
    call()
    found = turns - before
    greenlet.kill()
    return found


def test_a_reader_lets_other_greenlets_run(counted: tuple[CountedSocket, socket.socket]) -> None:
    ours, _ = counted
    assert turns_of_others(lambda: ours.recv(TURN)) == 0
    assert turns_of_others(lambda: read_exactly(ours, 2 * TURN)) >= 1


def test_a_writer_lets_other_greenlets_run(counted: tuple[CountedSocket, socket.socket]) -> None:
    ours, _ = counted
    assert turns_of_others(lambda: [ours.send(b"y" * TURN) for _ in range(5)]) >= 1


def test_an_exception_while_other_greenlets_run_loses_no_byte(
    counted: tuple[CountedSocket, socket.socket],
) -> None:
    ours, _ = counted
    read_exactly(ours, TURN)
    reading = gevent.spawn(ours.recv, TURN)
    while not reading.started:
        gevent.sleep(0)
    reading.kill()
    assert isinstance(reading.value, gevent.GreenletExit)
    assert len(read_exactly(ours, 2 * TURN)) == 2 * TURN


def test_a_non_blocking_socket_lets_no_other_greenlet_run(
    counted: tuple[CountedSocket, socket.socket],
) -> None:
    ours, _ = counted
    ours.setblocking(False)
    assert turns_of_others(lambda: read_exactly(ours, 3 * TURN)) == 0
    with pytest.raises(BlockingIOError):
        ours.recv(1)
    assert turns_of_others(lambda: [ours.send(b"y" * 4096) for _ in range(100)]) == 0


def test_a_read_of_0_bytes_or_of_urgent_data_does_not_wait(counted: tuple[CountedSocket, socket.socket]) -> None:
    ours, _ = counted
    read_exactly(ours, 3 * TURN - 1)
    assert ours.recv(10) == b"x"
    with gevent.Timeout(PATIENCE):
        assert ours.recv(0) == b""
        assert ours.recv_into(bytearray()) == 0
        with pytest.raises(OSError, match="Invalid argument"):
            ours.recv(1, socket.MSG_OOB)


def test_a_closed_counted_socket_fails_as_any_other_socket(counted: tuple[CountedSocket, socket.socket]) -> None:
    ours, _ = counted
    read_exactly(ours, TURN)
    ours.close()
    for call in (lambda: ours.recv(1), lambda: ours.send(b"x")):
        with pytest.raises(OSError, match="Bad file descriptor"):
            call()
