"""Fixtures for every test. Nothing is monkey-patched in this process."""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
import greenlet
import pytest

from geventecho.client.client import Client
from geventecho.client.connecting import connect
from tests.support import peers
from tests.support.timing import wait_until


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Accept the setting of pytest-timeout where pytest-timeout, of requirements-dev.txt, is not installed."""
    if not pluginmanager.hasplugin("timeout"):
        parser.addini("timeout", "seconds a test may take; without pytest-timeout it has no effect")


def pytest_collection_finish() -> None:
    """Hide the objects of the imports from the leak checks, which list all objects."""
    gc.freeze()


def open_descriptors() -> int:
    """Descriptors this process has open."""
    return len(os.listdir("/proc/self/fd"))


def live_greenlets() -> int:
    """Greenlets that have started and not ended, or are about to start."""
    return sum(1 for found in gc.get_objects() if isinstance(found, greenlet.greenlet) and not found.dead)


@pytest.fixture(autouse=True)
def _sigchld_is_free() -> Iterator[None]:
    """Fail a test that uses gevent.subprocess: its handler of SIGCHLD stays, and all later exit codes would read 0."""
    yield
    status = Path("/proc/self/status").read_text().splitlines()
    caught = int(next(line for line in status if line.startswith("SigCgt")).split()[1], 16)
    assert not caught >> (signal.SIGCHLD - 1) & 1, "the test left a handler of SIGCHLD"


@pytest.fixture(scope="module")
def pem(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """PEM files of a server for this host; `Files` of tests/support/tls.py, which needs trustme."""
    from tests.support.tls import files

    return files(tmp_path_factory.mktemp("pem"))


@pytest.fixture
def no_leaks() -> Iterator[None]:
    """Fails a test that leaves more descriptors or greenlets behind than there were before it."""
    gevent.get_hub().threadpool.apply(int)  # makes the pool, or its thread after idle seconds: these are no leaks
    gevent.sleep(0)
    gc.collect()
    descriptors, greenlets = open_descriptors(), live_greenlets()
    yield
    gc.collect()
    wait_until(lambda: open_descriptors() <= descriptors, goal=f"back to {descriptors} descriptors")
    wait_until(lambda: live_greenlets() <= greenlets, goal=f"back to {greenlets} greenlets")


@pytest.fixture
def echo_peer() -> Iterator[peers.Peer]:
    """A peer that echoes."""
    with peers.echoes() as peer:
        yield peer


@pytest.fixture
def client(echo_peer: peers.Peer) -> Iterator[Client]:
    """A client of that peer."""
    with connect(echo_peer.target) as client:
        yield client
