"""Large messages go through a pipe that all connections share. No byte reaches another client, and none is left."""

from __future__ import annotations

import errno
import itertools
import os
import random
import resource
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest
from gevent import socket

from geventecho.server import splice
from geventecho.server.splice import Pipe, SplicedSocket
from geventecho.server.tcp_server import EchoServer
from tests.conftest import open_descriptors
from tests.support.clients import run
from tests.support.seccomp import SPLICE, forbid
from tests.support.servers import (
    LOCAL,
    Process,
    assert_adds_up,
    dial,
    echo_server,
    fill_output,
    ping,
    read_exactly,
    running,
    serve,
)
from tests.support.timing import PATIENCE, wait_until

LARGE = 256 << 10
Pair = tuple[socket.socket, socket.socket]


def payload(seed: int, size: int = LARGE) -> bytes:
    return random.Random(seed).randbytes(size)


def large_ping(client: socket.socket, data: bytes) -> None:
    """Like ping, but reads while it sends."""
    sending = gevent.spawn(client.sendall, data)
    assert read_exactly(client, len(data)) == data
    sending.get()


@pytest.fixture(params=["tcp", "unix"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return LOCAL if request.param == "tcp" else f"unix:{tmp_path}/echo.sock"


@pytest.fixture
def pair() -> Iterator[Pair]:
    """A client's end and a server's end of a connection; the server's does not block."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    with client, server:
        yield client, server


@pytest.mark.usefixtures("no_leaks")
def test_messages_of_all_sizes_come_back(address: str) -> None:
    with running(EchoServer(address)) as server, dial(server) as client:
        for seed in range(60):
            large_ping(
                client, payload(seed, (1, 100, 8191, 8192, 16383, 16384, 65536, 65537, 102400, LARGE)[seed % 10])
            )
        client.close()
        wait_until(lambda: not server.connection_count)
        assert_adds_up(server.counters)
        assert server.counters["bytes_lost"] == 0


def test_a_pipe_is_open_while_a_connection_uses_it(address: str) -> None:
    with running(EchoServer(address)) as server, dial(server) as small, dial(server) as one, dial(server) as two:
        for client in (small, one, two):
            ping(client)
        before = open_descriptors()
        large_ping(one, payload(1))
        large_ping(two, payload(2))
        assert open_descriptors() == before + 2
        one.close()
        wait_until(lambda: server.connection_count == 2)
        large_ping(two, payload(3))
        two.close()
        wait_until(lambda: server.connection_count == 1)
        ping(small)
        assert open_descriptors() == before - 4  # both ends of two connections are of this process


@pytest.mark.usefixtures("no_leaks")
def test_no_client_gets_a_byte_of_clients_that_stop_reading_and_reset(address: str) -> None:
    with running(EchoServer(address)) as server:
        witnesses = [dial(server) for _ in range(5)]

        def witness(number: int) -> None:
            for round_ in range(20):
                large_ping(witnesses[number], payload(100 * number + round_, 100_000))

        watching = [gevent.spawn(witness, number) for number in range(len(witnesses))]
        for _ in range(10):
            with dial(server) as stuck:
                fill_output(server, stuck)
                stuck.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        gevent.joinall(watching, raise_error=True)
        for client in witnesses:
            client.close()
        wait_until(lambda: not server.connection_count)
        counters = server.counters
        assert counters["ended_peer"] + counters["ended_reset"] == len(witnesses) + 10
        assert_adds_up(counters)


def test_a_client_that_does_not_read_holds_64_kib_and_gets_them_later() -> None:
    data = payload(4, 16 << 20)
    with echo_server() as server, dial(server) as client:
        sending = gevent.spawn(client.sendall, data)
        wait_until(lambda: any(connection.pending for connection in server._registry.open))
        (connection,) = server._registry.open
        assert connection.pending is not None
        assert len(connection.pending) <= 65536
        assert connection.owed == len(connection.pending)
        assert read_exactly(client, len(data)) == data
        sending.get()


def test_bytes_that_an_interrupted_turn_left_in_the_pipe_reach_no_client(pair: Pair) -> None:
    client, server = pair
    pipe, buffer = Pipe(), memoryview(bytearray(64))
    interrupted, spliced = pipe.enter(server), pipe.enter(server)
    client.sendall(b"left behind")
    wait_until(lambda: _arrived(server))
    assert interrupted.recv_into(buffer) == len(b"left behind")
    client.sendall(b"mine")
    wait_until(lambda: _arrived(server))
    assert spliced.recv_into(buffer) == len(b"mine")
    assert spliced.send(buffer[:4]) == len(b"mine")
    assert client.recv(64) == b"mine"
    interrupted.leave()
    spliced.leave()


def test_an_error_while_sending_leaves_the_pipe_empty(pair: Pair) -> None:
    client, server = pair
    pipe, buffer = Pipe(), memoryview(bytearray(64))
    spliced = pipe.enter(server)
    client.sendall(b"never sent")
    wait_until(lambda: _arrived(server))
    assert spliced.recv_into(buffer) == len(b"never sent")
    server.shutdown(socket.SHUT_WR)
    with pytest.raises(BrokenPipeError):
        spliced.send(buffer[:10])
    assert pipe.clean
    with pytest.raises(BlockingIOError):
        os.read(pipe.outlet, 1)
    spliced.leave()
    assert pipe.inlet == -1


def test_an_empty_socket_and_a_fin_are_reported_as_by_recv(pair: Pair) -> None:
    client, server = pair
    spliced, buffer = Pipe().enter(server), memoryview(bytearray(64))
    with pytest.raises(BlockingIOError):
        spliced.recv_into(buffer)
    client.shutdown(socket.SHUT_WR)
    wait_until(lambda: _arrived(server))
    assert spliced.recv_into(buffer) == 0
    spliced.leave()


@pytest.mark.parametrize("half_closes", [True, False], ids=["FIN", "open"])
def test_an_urgent_byte_does_not_stop_the_stream(pair: Pair, half_closes: bool) -> None:
    client, server = pair
    spliced, buffer, returned = Pipe().enter(server), memoryview(bytearray(64)), bytearray()
    client.settimeout(0.05)
    client.sendall(b"before")
    client.send(b"!", socket.MSG_OOB)
    client.sendall(b"after")
    if half_closes:
        client.shutdown(socket.SHUT_WR)

    def turn() -> bool:
        try:
            spliced.send(buffer[: spliced.recv_into(buffer)])
            returned.extend(client.recv(64))
        except (BlockingIOError, TimeoutError):
            pass
        return returned == b"beforeafter"  # recv(2) leaves the urgent byte out, too

    wait_until(turn)
    spliced.leave()


@pytest.mark.parametrize("urgent_at", [[0], [100_000], [199_990], [200_000], [70_000, 70_000, 140_000]], ids=str)
@pytest.mark.parametrize("half_closes", [True, False], ids=["FIN", "open"])
def test_urgent_bytes_lose_no_byte_of_the_stream(urgent_at: list[int], half_closes: bool) -> None:
    """An urgent byte itself is not part of the stream. An earlier one becomes part of it when another follows soon."""
    data = bytes(200_000)
    with running(EchoServer(LOCAL)) as server, dial(server) as client:
        returned = bytearray()

        def read() -> None:
            while chunk := client.recv(65536):
                returned.extend(chunk)

        reading = gevent.spawn(read)
        for begin, end in itertools.pairwise([0, *urgent_at]):
            client.sendall(data[begin:end])
            client.send(b"!", socket.MSG_OOB)
        client.sendall(data[urgent_at[-1] :])
        if half_closes:
            client.shutdown(socket.SHUT_WR)
            reading.get(timeout=PATIENCE)
            wait_until(lambda: not server.connection_count)
            assert_adds_up(server.counters)
            assert (server.counters["ended_peer"], server.counters["bytes_lost"]) == (1, 0)
        else:
            wait_until(lambda: returned.count(0) == len(data))
            reading.kill()
        assert returned.replace(b"!", b"") == data
        assert server.counters["bytes_sent"] == len(returned)


def test_without_descriptors_messages_are_copied_and_a_pipe_is_opened_later(pair: Pair) -> None:
    client, server = pair
    pipe = Pipe()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    hogs: list[int] = []
    try:
        while len(hogs) < highest:  # fill the gaps below the limit
            try:
                hogs.append(os.dup(0))
            except OSError:
                break
        first = pipe.enter(server)
        assert pipe.inlet == -1
        _echo_once(client, first)
    finally:
        for hog in hogs:
            os.close(hog)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    second = pipe.enter(server)
    assert pipe.inlet >= 0
    _echo_once(client, first)
    _echo_once(client, second)
    first.leave()
    second.leave()


def test_without_pages_for_a_large_pipe_messages_are_copied(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = pair
    monkeypatch.setattr(splice, "PIPE_SIZE", (1 << 31) + 1)  # more than any process may have
    before, pipe = open_descriptors(), Pipe()
    spliced = pipe.enter(server)
    assert pipe.inlet == -1
    assert open_descriptors() == before
    _echo_once(client, spliced)
    spliced.leave()


def test_a_forked_process_closes_the_pipe_of_its_parent() -> None:
    assert run("tests.server.scripts.fork_with_pipe") == "in the middle of a turn\n"


@pytest.mark.skipif(SPLICE is None, reason="the number of splice(2) on this processor is not known here")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EPERM], ids=errno.errorcode.__getitem__)
def test_where_splice_is_missing_or_forbidden_messages_are_copied(number: int) -> None:
    with serve(preexec_fn=lambda: forbid(SPLICE or 0, number)) as server:
        before = server.descriptors
        with server.connect() as one, server.connect() as two:
            for client in (one, two, one, two):
                large_ping(client, payload(7))
            ping(one)
            assert server.descriptors == before + 2
        assert _stopped_in_order(server)


def _arrived(sock: socket.socket) -> bool:
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return True


def _echo_once(client: socket.socket, spliced: SplicedSocket) -> None:
    buffer = memoryview(bytearray(64))
    client.sendall(b"hello")
    size = 0
    while not size:
        try:
            size = spliced.recv_into(buffer)
        except BlockingIOError:
            gevent.sleep(0)
    assert spliced.send(buffer[:size]) == size
    assert read_exactly(client, 5) == b"hello"


def _stopped_in_order(server: Process) -> bool:
    return server.stop() == 0 and server.errors == "" and "bytes lost 0" in server.lines[-1]
