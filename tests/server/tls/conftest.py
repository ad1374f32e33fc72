"""Servers with TLS that echo: in the hub, in a connection's greenlet, or in a handler."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geventecho.server.tcp_server import EchoServer, TcpServer
from tests.support.servers import running
from tests.support.tls import tls_server


@pytest.fixture(params=["hub", "greenlet", "handler"])
def echoes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(EchoServer, "in_hub", request.param == "hub")
    return bool(request.param != "handler")


@pytest.fixture
def server(echoes: bool) -> Iterator[TcpServer]:
    with running(tls_server(echoes=echoes)) as server:
        yield server
