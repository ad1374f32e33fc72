"""`geventecho serve --metrics TARGET`: its targets, and the failures of a target."""

from __future__ import annotations

import resource
import socket as plain
import sys
from pathlib import Path
from unittest import mock

import gevent
import pytest

from geventecho.address import Address
from tests.support.commands import command, usage_error
from tests.support.scraping import get, metrics_of, scrape
from tests.support.servers import ping, serve
from tests.support.timing import wait_until


def test_metrics_are_served_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    with serve("--metrics", f"unix:{path}") as server:
        found = scrape(metrics_of(server))
        assert found["geventecho_workers{listening}"] == 1
        assert server.stop() == 0
        assert server.errors == ""
    assert not path.exists()


def test_metrics_are_served_on_an_inherited_socket() -> None:
    with plain.create_server(("127.0.0.1", 0)) as listener:
        fd = listener.fileno()
        with serve("--metrics", f"fd:{fd}", pass_fds=(fd,)) as server:
            address = Address.from_sockaddr(listener.getsockname())
            assert metrics_of(server) == address
            assert get(address, "/readyz").status == 200


def test_connections_of_unix_sockets_have_no_round_trip(tmp_path: Path) -> None:
    with serve(f"unix:{tmp_path / 'echo'}", "--metrics", "0") as server:
        with server.connect() as client:
            ping(client)
        wait_until(lambda: scrape(metrics_of(server))["geventecho_connections_ended_total{peer}"] == 1)
        assert scrape(metrics_of(server))["geventecho_tcp_rtt_seconds_count"] == 0


def test_an_address_that_other_machines_reach_is_a_warning() -> None:
    with serve("--metrics", "0.0.0.0:0", "--allow-root") as server:
        address = metrics_of(server)
        assert get(Address.of(("127.0.0.1", address.port)), "/healthz").status == 200
        assert server.stop() == 0
        (line,) = server.errors.splitlines()
        assert line.endswith(f"metrics on {address} can be read from other machines")


@pytest.mark.parametrize("target", ["9090x", "70000", "tls://127.0.0.1:0", ":9090", "", "http://127.0.0.1:9090"])
def test_a_wrong_target_is_a_usage_error(target: str) -> None:
    error = usage_error("serve", "--port", "0", "--metrics", target)
    assert error.startswith(("argument --metrics: ", "metrics are not served over TLS: "))


def test_an_address_in_use_is_named_and_starts_no_server(tmp_path: Path) -> None:
    path = tmp_path / "echo"
    with plain.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = failure_of(f"unix:{path}", "--metrics", str(port))
    assert done.startswith(
        f"geventecho serve: listen tcp://127.0.0.1:{port}: metrics: another process has this address"
    )
    assert not path.exists()


def failure_of(*arguments: str) -> str:
    """Run `geventecho serve`, which has to end with 1 and one line; returns the line."""
    done = command(["serve", *arguments])
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    return line


def test_a_server_that_cannot_listen_leaves_no_socket_of_its_metrics(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    with plain.create_server(("127.0.0.1", 0)) as taken:
        failure_of("--port", str(taken.getsockname()[1]), "--metrics", f"unix:{path}")
    assert not path.exists()


def test_metrics_without_prometheus_client_say_how_to_install_it() -> None:
    ours = {name: module for name, module in sys.modules.items() if not name.startswith("geventecho.service.")}
    with mock.patch.dict(sys.modules, ours | {"prometheus_client": None}, clear=True):
        assert usage_error("serve", "--port", "0", "--metrics", "0") == (
            "metrics need prometheus-client: pip install 'geventecho[workers]'"
        )


def test_metrics_are_served_when_the_service_has_no_free_descriptor() -> None:
    limit = 64

    def starve() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))

    with serve("--metrics", "0", preexec_fn=starve) as server:
        metrics = metrics_of(server)
        clients = [server.connect() for _ in range(2 * limit)]
        wait_until(lambda: scrape(metrics)["geventecho_connections_refused_total{full}"] > 0)
        answers = [gevent.spawn(scrape, metrics) for _ in range(30)]
        for answer in answers:
            found = answer.get()
            assert found["geventecho_connections_open"] == found["geventecho_connections_limit"] > 0
        assert (
            found["geventecho_connections_refused_total{no_descriptor}"] == found["geventecho_accept_errors_total"] == 0
        )
        for client in clients:
            client.close()
