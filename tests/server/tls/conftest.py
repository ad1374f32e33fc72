"""Servers with TLS that echo, in both ways."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geventecho.server.tcp_server import TcpServer
from tests.support.servers import running
from tests.support.tls import (
    tls_server,
)


@pytest.fixture(params=[True, False], ids=["echo", "handler"])
def echoes(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def server(echoes: bool) -> Iterator[TcpServer]:
    with running(tls_server(echoes=echoes)) as server:
        yield server
