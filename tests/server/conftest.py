"""Fixtures for the tests of the server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from geventecho.server.tcp_server import EchoServer


@pytest.fixture(scope="module", params=[True, False], ids=["hub", "greenlet"])
def both_loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """Runs a module's tests twice: with the hub's part of the echo loop, and with the greenlet alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EchoServer, "in_hub", request.param)
        yield
