"""Behind HAProxy, with the PROXY protocol: health checks, and servers that are restarted in turn under load."""

from __future__ import annotations

import contextlib
import logging
import re
from pathlib import Path

import gevent
import pytest

from geventecho.client import connect
from geventecho.server.tcp_server import EchoServer, TcpServer
from tests.support import ROOT
from tests.support.locust_process import free_port
from tests.support.real_servers import HAProxy
from tests.support.servers import LOCAL, Process, assert_adds_up, running, serve
from tests.support.timing import wait_until
from tests.support.tls import tls_server

PROXIES = ("127.0.0.1",)
CLIENTS = 20
CLIENT = "127.0.0.5"
"""HAProxy connects from 127.0.0.1."""


class Load:
    """Clients that connect, echo five times, and connect anew, until they are stopped or fail."""

    def __init__(self, port: int) -> None:
        self.echoes = self.connects = 0
        self._stopped = False
        self._port = port
        self._clients = [gevent.spawn(self._run) for _ in range(CLIENTS)]

    def _run(self) -> None:
        while not self._stopped:
            with connect(("127.0.0.1", self._port), source=f"{CLIENT}:0") as client:
                self.connects += 1
                for number in range(5):
                    client.echo(b"%d of %d" % (number, self.connects))
                    self.echoes += 1
                    gevent.sleep(0.01)

    def stop(self) -> None:
        """Stop the clients; raises the failure of a client."""
        self._stopped = True
        gevent.joinall(self._clients, raise_error=True)


def start(port: int) -> Process:
    return serve(
        "--port", str(port), "--proxy-protocol-from", *PROXIES, "--drain-idle", "5",
        "--log-level", "debug",
    )  # fmt: skip


@pytest.mark.parametrize("told", [True, pytest.param(False, marks=pytest.mark.long)], ids=["told", "not told"])
def test_servers_restarted_in_turn_lose_no_request(told: bool, tmp_path: Path) -> None:
    """HAProxy is told to drain a server first; or it finds the listener closed, and connects to the other server."""
    ports = {"one": free_port(), "two": free_port()}
    haproxy = HAProxy(
        tmp_path,
        f"server one 127.0.0.1:{ports['one']} send-proxy port {ports['one']}",  # a check without a header
        f"server two 127.0.0.1:{ports['two']} send-proxy-v2",
    )
    with contextlib.ExitStack() as started:
        servers = {name: started.enter_context(start(port)) for name, port in ports.items()}
        with haproxy.running():
            wait_until(lambda: all(haproxy.figures(name)["status"] == "UP" for name in ports))
            load = Load(haproxy.port)
            wait_until(lambda: load.connects > 4 * CLIENTS)
            for name, port in ports.items():
                if told:
                    haproxy.tell(f"set server echo/{name} state drain")
                    wait_until(lambda name=name: haproxy.figures(name)["scur"] == "0")  # type: ignore[misc]
                counts = check_stopped(servers[name])
                if told:
                    assert counts.keys().isdisjoint(("ended_drained", "ended_cut"))
                servers[name] = started.enter_context(start(port))
                haproxy.tell(f"set server echo/{name} state ready")
                wait_until(lambda name=name: haproxy.figures(name)["status"] == "UP")  # type: ignore[misc]
                sent = int(haproxy.figures(name)["stot"])
                wait_until(lambda name=name, sent=sent: int(haproxy.figures(name)["stot"]) > sent + CLIENTS)  # type: ignore[misc]
            load.stop()
            assert load.echoes == 5 * load.connects > 100
        for server in servers.values():
            check_stopped(server)


def check_stopped(server: Process) -> dict[str, int]:
    """SIGTERM: no byte is lost, the log has the address of the clients, and no health check is a warning."""
    counts = server.stop_and_count()
    assert ", cut 0, bytes lost 0" in server.lines[-1]
    assert counts["bytes_received"] == counts["bytes_sent"]
    assert {name for name in counts if name.startswith(("refused_", "proxy_header_"))} <= {"proxy_header_probe"}
    assert f"tcp://{CLIENT}:" in server.errors
    assert "WARNING" not in server.errors
    return counts


def test_the_figure_that_the_how_to_waits_for_counts_the_connections_of_a_server(tmp_path: Path) -> None:
    page = (ROOT / "docs/how-to/behind-a-proxy.md").read_text()
    (figure,) = re.findall(r"`(\w+)` of `echo,one` in the answer to `show stat`", page)
    with running(EchoServer(LOCAL, proxy_protocol_from=PROXIES)) as server:
        assert server.address is not None
        haproxy = HAProxy(tmp_path, f"server one 127.0.0.1:{server.address.port} send-proxy-v2")
        with haproxy.running():
            wait_until(lambda: haproxy.figures("one")["status"] == "UP")
            with connect(("127.0.0.1", haproxy.port)) as client:
                client.echo(b"echo")
                assert haproxy.figures("one")[figure] == "1"
            wait_until(lambda: haproxy.figures("one")[figure] == "0")


def test_health_checks_log_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    servers: list[TcpServer] = [EchoServer(LOCAL, proxy_protocol_from=PROXIES) for _ in range(3)]
    servers.append(tls_server(proxy_protocol_from=PROXIES))
    ways = ("send-proxy port {port}", "send-proxy", "send-proxy-v2", "send-proxy-v2 check-ssl verify none")
    with running(servers[0]), running(servers[1]), running(servers[2]), running(servers[3]):
        ports = [server.address.port for server in servers if server.address]
        lines = [
            f"server s{port} 127.0.0.1:{port} {way.format(port=port)}" for port, way in zip(ports, ways, strict=True)
        ]
        haproxy = HAProxy(tmp_path, *lines)
        with haproxy.running():
            wait_until(lambda: all(server.counters["accepted"] > 5 for server in servers[1:]))
            assert all(haproxy.figures(f"s{port}")["status"] == "UP" for port in ports)
        wait_until(lambda: not any(server.connection_count for server in servers))
        # Without a header to send, HAProxy resets a connect before it is complete. One connect is the test's.
        assert servers[0].counters["accepted"] <= 1
        for server in servers:
            counters = server.counters
            assert_adds_up(counters)
            assert counters["ended_proxy_header"] == counters["ended_handshake"] == counters["bytes_received"] == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
