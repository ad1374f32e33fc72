"""Connecting: failures, source addresses, Unix sockets."""

from __future__ import annotations

import os
import resource
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import gevent
import pytest

from geventecho import errors
from geventecho.address import Address
from geventecho.client import Tls, dial
from geventecho.client.connecting import connect
from tests.support import peers
from tests.support.clients import fails
from tests.support.timing import PATIENCE, UNIT, wait_until

pytestmark = pytest.mark.usefixtures("no_leaks")


# Failures.


def test_a_port_without_a_listener_is_refused() -> None:
    with peers.refuses() as target:
        error = fails(errors.ConnectRefused, lambda: connect(target))
    assert isinstance(error, ConnectionRefusedError)
    assert (str(error.address), error.phase) == (target, "connect")
    assert target in str(error)


def test_a_connect_without_an_answer_is_a_timeout() -> None:
    with peers.never_accepts() as target:
        error = fails(errors.ConnectTimeout, lambda: connect(target, timeout=2 * UNIT), after=2 * UNIT)
        assert isinstance(error, TimeoutError)
        fails(errors.ConnectTimeout, lambda: connect(target, timeout=9, connect_timeout=UNIT), after=UNIT)


def test_the_connect_timeout_is_not_the_request_timeout() -> None:
    with (
        peers.never_replies() as peer,
        connect(peer.target, timeout=UNIT, connect_timeout=PATIENCE) as patient,
        connect(peer.target, timeout=None, connect_timeout=UNIT) as endless,
    ):
        fails(errors.ReadTimeout, patient.recv, after=UNIT)
        with pytest.raises(gevent.Timeout), gevent.Timeout(2 * UNIT):
            endless.recv()


@pytest.mark.parametrize("host", ["nosuch.invalid", "a" * 64 + ".example", "x..y"])
def test_a_name_without_an_address_is_a_resolve_error(host: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(errors.ResolveError) as caught:
        connect(Address("tcp", host=host, port=8090))  # Address.parse would refuse some of them
    assert caught.value.phase == "dns"
    assert host in str(caught.value)
    gevent.sleep(UNIT)
    assert capfd.readouterr().err == "", "no resolver thread prints a traceback"


def test_a_connect_without_a_free_descriptor_is_out_of_resources(echo_peer: peers.Peer) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    fillers = [os.dup(0) for _ in range(3)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(*fillers, highest) + 1, limits[1]))
    try:
        try:
            while True:
                fillers.append(os.dup(0))
        except OSError:
            pass
        fails(errors.OutOfResources, lambda: connect(echo_peer.target))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in fillers:
            os.close(descriptor)
    with connect(echo_peer.target) as client:
        assert client.echo(b"again") == b"again"


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("tls://127.0.0.1:1", {"tls": Tls(ca="/no")}, "Tls.ca: the file /no cannot be read"),
        ("unix:/no", {"tls": Tls()}, "no host name to check in the certificate"),
        ("fd:3", {}, "only a server can use fd:N"),
        ("127.0.0.1:1", {"source": "localhost:0"}, "must be an IP address"),
        ("127.0.0.1:1", {"source": "unix:/tmp/x"}, "must be an IP address"),
        ("unix:/tmp/x", {"source": "127.0.0.1:0"}, "for a tcp:// target"),
        ("127.0.0.1:1", {"timeout": 0}, "above 0"),
        ("127.0.0.1:1", {"timeout": -1}, "^timeout is -1"),
        ("127.0.0.1:1", {"timeout": "5"}, "^timeout is '5'"),
        ("127.0.0.1:1", {"timeout": -1, "connect_timeout": 1}, "^timeout is -1"),
        ("127.0.0.1:1", {"timeout": 1, "connect_timeout": -1}, "^connect_timeout is -1"),
        ("127.0.0.1:1", {"connect_timeout": float("nan")}, "connect_timeout is nan"),
    ],
)
def test_a_wrong_argument_is_refused_before_the_connect(target: str, options: dict[str, object], words: str) -> None:
    with pytest.raises(errors.ConfigError, match=words):
        connect(target, **options)  # type: ignore[arg-type]


def test_text_that_is_no_target_is_an_address_error() -> None:
    with pytest.raises(errors.AddressError):
        connect("nowhere")


def test_a_socket_that_would_connect_to_itself_is_refused() -> None:
    # TCP's simultaneous open: a client that connects to its own local port reaches itself, and its echoes succeed.
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    fails(errors.ConnectRefused, lambda: connect(("127.0.0.1", port), source=("127.0.0.1", port)))


# Source addresses.


def test_a_source_address_is_used(echo_peer: peers.Peer) -> None:
    with connect(echo_peer.target, source="127.0.0.2:0") as client:
        assert client.local_address.host == "127.0.0.2"
        assert client.echo(b"x") == b"x"


def test_a_source_address_gets_its_port_at_the_connect() -> None:
    # Without IP_BIND_ADDRESS_NO_PORT, bind(2) takes a port for all destinations.
    with peers.echoes() as one, connect(one.target, source="127.0.0.3:0") as client:
        option = client._wire.sock.getsockopt(socket.IPPROTO_IP, dial.IP_BIND_ADDRESS_NO_PORT)
        assert option == 1
        assert client.local_address.port != 0


def test_a_source_address_of_another_machine_is_named() -> None:
    error = fails(errors.OutOfResources, lambda: connect("127.0.0.1:1", source="192.0.2.1:0"))
    assert "not of this machine" in str(error)


def test_a_source_address_of_the_other_family_is_named() -> None:
    error = fails(errors.ConnectError, lambda: connect("127.0.0.1:1", source="[::1]:0"))
    assert "family" in str(error)


@pytest.mark.parametrize("nodelay", [True, False])
def test_nodelay_sets_the_socket_option(echo_peer: peers.Peer, nodelay: bool) -> None:
    with connect(echo_peer.target, nodelay=nodelay) as client:
        assert client._wire.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == int(nodelay)


# Unix sockets.


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:  # tmp_path can be longer than a Unix path may be
        yield Path(name)


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_a_client_connects_to_a_unix_socket(kind: str, directory: Path) -> None:
    name = f"@geventecho-{os.getpid()}" if kind == "abstract" else str(directory / "echo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("\0" + name[1:] if kind == "abstract" else name)
        listener.listen()
        with connect(f"unix:{name}") as client:
            served, _ = listener.accept()
            with served:
                client.send(b"over a path")
                assert served.recv(100) == b"over a path"
                served.sendall(b"and back")
                assert client.recv_exactly(8) == b"and back"
            assert str(client.target) == str(client.peer_address) == f"unix:{name}"
            assert client.recv() == b""


def test_a_connect_waits_for_a_unix_listener_with_a_full_queue(directory: Path) -> None:
    name = str(directory / "echo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(name)
        listener.listen(0)
        first = connect(f"unix:{name}")
        fails(errors.ConnectTimeout, lambda: connect(f"unix:{name}", timeout=UNIT), after=UNIT)
        waiting = gevent.spawn(connect, f"unix:{name}", timeout=PATIENCE)
        gevent.sleep(UNIT)
        assert not waiting.ready()
        accepted = [listener.accept()[0]]
        wait_until(waiting.ready)
        for sock in (first, waiting.get(), *accepted):
            sock.close()


def test_a_unix_path_without_a_listener_is_refused(directory: Path) -> None:
    with pytest.raises(errors.ConnectError) as caught:
        connect(f"unix:{directory}/nothing")
    assert caught.value.phase == "connect"
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(directory / "bound"))
        fails(errors.ConnectRefused, lambda: connect(f"unix:{directory}/bound"))


def test_a_client_connects_over_ipv6() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 loopback: {error}")
    with listener, connect(("::1", listener.getsockname()[1])) as client:
        served, _ = listener.accept()
        served.close()
        assert str(client.peer_address) == f"tcp://[::1]:{listener.getsockname()[1]}"
        assert client.local_address.host == "::1"
