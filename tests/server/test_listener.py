"""Listeners and their options, aborted sockets, and the table of descriptors."""

from __future__ import annotations

import errno
import os
import resource
import socket as plain
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from gevent import socket

from geventecho import errors
from geventecho.address import Address
from geventecho.net import abort, descriptors
from geventecho.server.listener import ip_versions, listen
from tests.support.servers import read_to_end, serve

pytestmark = pytest.mark.usefixtures("no_leaks")
LOCAL = Address.parse("127.0.0.1:0")


@pytest.fixture
def pair() -> Iterator[tuple[plain.socket, plain.socket]]:
    """Both ends of a TCP connection."""
    with plain.create_server(("127.0.0.1", 0)) as listener, plain.create_connection(listener.getsockname()) as near:
        far, _ = listener.accept()
        with far:
            yield near, far


# Listening ------------------------------------------------------------------------------------------------------------


def test_port_0_gives_the_bound_port() -> None:
    listener, address, _ = listen(LOCAL, backlog=5)
    with listener:
        assert address == Address("tcp", host="127.0.0.1", port=listener.getsockname()[1])
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


@pytest.mark.parametrize("where", ["127.0.0.1:0", "[::1]:0"])
def test_accepted_sockets_inherit_the_options(where: str) -> None:
    listener, _, _ = listen(Address.parse(where), backlog=5)
    with listener, plain.socket(listener.family) as client:
        client.connect(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            tcp = socket.IPPROTO_TCP
            assert accepted.getsockopt(tcp, socket.TCP_NODELAY) == 1
            assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            # A vanished host is found within 95 s: 60 s of silence and three probes, 10 s apart.
            assert accepted.getsockopt(tcp, socket.TCP_KEEPIDLE) == 60
            assert accepted.getsockopt(tcp, socket.TCP_KEEPINTVL) * accepted.getsockopt(tcp, socket.TCP_KEEPCNT) == 30
            # This timeout would end a peer that makes room in pieces smaller than a packet.
            assert accepted.getsockopt(tcp, socket.TCP_USER_TIMEOUT) == 0


@pytest.mark.parametrize("number", [1, 65535, 1 << 31, 1 << 80])
def test_any_backlog_is_taken_and_clamped(number: int) -> None:
    listen(LOCAL, backlog=number)[0].close()


def test_a_restart_need_not_wait_for_time_wait() -> None:
    listener, address, _ = listen(LOCAL, backlog=5)
    client = plain.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    accepted.close()  # the server closes first: TIME_WAIT is on its side
    client.recv(1)
    client.close()
    listener.close()
    listen(address, backlog=5)[0].close()


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("192.0.2.1:0", "this machine has no such address"),
        ("[2001:db8::1]:0", "this machine has no such address"),
        ("unix:/nonexistent/directory/socket", "the directory does not exist"),
        ("unix:/dev/null", "or a file that is no socket"),
        ("fd:987654", "no such descriptor"),
        ("nonexistent.invalid:80", "cannot be resolved"),
    ],
)
def test_a_listen_error_names_the_reason_and_the_address(
    target: str, reason: str, capfd: pytest.CaptureFixture[str]
) -> None:
    address = Address.parse(target)
    with pytest.raises(errors.ListenError, match=reason) as caught:
        listen(address, backlog=5)
    assert str(caught.value).startswith(f"listen {address}: ")
    assert caught.value.phase == "listen"
    assert caught.value.kind == "listen failed"
    assert "Traceback" not in capfd.readouterr().err


def test_a_port_in_use_is_a_listen_error() -> None:
    listener, address, _ = listen(LOCAL, backlog=5)
    with listener, pytest.raises(errors.ListenError, match="another process has this address") as caught:
        listen(address, backlog=5)
    assert caught.value.errno == errno.EADDRINUSE


def test_a_name_is_resolved() -> None:
    listener, address, _ = listen(Address.parse("localhost:0"), backlog=5)
    with listener:
        assert address.is_loopback


@pytest.mark.parametrize(
    ("target", "versions"),
    [
        ("127.0.0.1:0", {4}), ("0.0.0.0:0", {4}), ("[::1]:0", {6}), ("[::]:0", {4, 6}),
        ("[::ffff:127.0.0.1]:0", {4}), ("unix:@geventecho-versions", set()),
    ],
)  # fmt: skip
def test_ip_versions_are_those_of_the_clients(target: str, versions: set[int]) -> None:
    with listen(Address.parse(target), backlog=5)[0] as listener:
        assert ip_versions(listener) == versions


def test_an_inherited_listener_may_take_only_ipv6() -> None:
    with (
        plain.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=False) as owner,
        listen(Address("fd", fd=owner.fileno()), backlog=5)[0] as listener,
    ):
        assert ip_versions(listener) == {6}


# Unix -----------------------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(errors.ListenError):
        listen(Address.parse(f"unix:{path}"), backlog=5)
    assert path.read_text() == "data"


def test_a_stale_path_is_taken_over_and_a_live_one_is_not(tmp_path: Path) -> None:
    address = Address.parse(f"unix:{tmp_path / 'socket'}")
    first, bound, _ = listen(address, backlog=5)
    assert bound == address
    inode = os.lstat(address.path).st_ino
    with pytest.raises(errors.ListenError, match="a process that listens there"):
        listen(address, backlog=5)
    assert os.lstat(address.path).st_ino == inode
    first.close()
    second, _, _ = listen(address, backlog=5)
    with second, plain.socket(socket.AF_UNIX) as client:
        client.connect(address.path)


def test_a_live_path_with_a_full_queue_is_not_taken_over(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with plain.socket(socket.AF_UNIX) as busy, plain.socket(socket.AF_UNIX) as client:
        busy.bind(path)
        busy.listen(0)
        client.connect(path)
        with pytest.raises(errors.ListenError, match="a process that listens there"):
            listen(Address.parse(f"unix:{path}"), backlog=5)
        assert stat.S_ISSOCK(os.lstat(path).st_mode)


# Inherited ------------------------------------------------------------------------------------------------------------


def test_an_inherited_descriptor_must_be_a_listening_stream_socket() -> None:
    for make, reason in (
        (plain.socket, "not a listening stream socket"),
        (lambda: plain.socket(type=plain.SOCK_DGRAM), "not a listening stream socket"),
        (tempfile.TemporaryFile, "the descriptor is not a socket"),
    ):
        with make() as found:
            with pytest.raises(errors.ListenError, match=reason):
                listen(Address("fd", fd=found.fileno()), backlog=5)
            os.fstat(found.fileno())


def test_an_adopted_listener_is_a_descriptor_of_its_own() -> None:
    with plain.create_server(("127.0.0.1", 0)) as owner:
        listener, address, _ = listen(Address("fd", fd=owner.fileno()), backlog=5)
        assert address == Address("tcp", host="127.0.0.1", port=owner.getsockname()[1])
        assert listener.fileno() != owner.fileno()
        listener.close()
        with plain.create_connection(owner.getsockname()):
            pass


def test_a_unix_listener_can_be_inherited(tmp_path: Path) -> None:
    with plain.socket(socket.AF_UNIX) as owner:
        owner.bind(str(tmp_path / "socket"))
        owner.listen()
        listener, address, _ = listen(Address("fd", fd=owner.fileno()), backlog=5)
        listener.close()
        assert str(address) == f"unix:{tmp_path / 'socket'}"


# Sockets --------------------------------------------------------------------------------------------------------------


def test_abort_resets_the_connection() -> None:
    listener, _, _ = listen(LOCAL, backlog=5)
    with listener:
        near = socket.create_connection(listener.getsockname())
        far, _ = listener.accept()
        with far:
            near.sendall(b"arrived before")
            abort(near)
            with pytest.raises(ConnectionResetError):
                read_to_end(far)
        abort(near)


# Descriptors ----------------------------------------------------------------------------------------------------------


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        assert descriptors.descriptor_capacity() == min(soft, 512) - 64
        assert descriptors.raise_descriptor_limit() == (min(soft, 512), hard)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
        assert descriptors.raise_descriptor_limit() == (hard, hard)
        assert descriptors.descriptor_capacity() == hard - 64
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("limit", "room"), [(1000, 936), (128, 64), (100, 50), (64, 32)])
def test_a_small_descriptor_limit_leaves_room_for_connections(limit: int, room: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        assert descriptors.descriptor_capacity() == room
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("most", [300, 3000])
def test_the_descriptor_table_has_its_size_before_clients_connect(most: int) -> None:
    """Its growth in a burst would delay all connections (proc(5), FDSize)."""
    with serve("--max-connections", str(most)) as server:
        status = Path(f"/proc/{server.pid}/status").read_text()
        size = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("FDSize:"))
        assert most < size <= 4 * most


def test_a_descriptor_table_that_cannot_grow_is_no_error(pair: tuple[plain.socket, plain.socket]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    near = socket.socket(fileno=os.dup(pair[0].fileno()))
    with near:
        resource.setrlimit(resource.RLIMIT_NOFILE, (near.fileno(), hard))
        try:
            descriptors.grow_descriptor_table(near, 10)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
