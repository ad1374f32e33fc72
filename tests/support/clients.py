"""Helpers of the client's tests: connections to peers, and the checks of every failure."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from geventecho import errors
from geventecho.client.client import Client
from geventecho.client.connecting import connect
from tests.support import ROOT, peers
from tests.support.timing import SCALE, UNIT

MIB = 2**20
SLACK = 5 * UNIT
"""Seconds by which a failure may come late: the machine has other work."""


@contextlib.contextmanager
def connected_to(peer: peers.Peer) -> Iterator[Client]:
    """A client of a peer that runs for the block."""
    with peer, connect(peer.target) as client:
        yield client


def nothing_armed(client: Client) -> bool:
    """Whether none of the client's watchers is active."""
    sock = client._wire.sock
    return sock._read_event.callback is None and sock._write_event.callback is None and not client._wire._timer.active


def fails(kind: type[errors.NetworkError], call: Callable[[], object], *, after: float = 0.0) -> errors.NetworkError:
    """Check that the call fails with exactly this class of error, and takes `after` seconds; returns the error."""
    began = time.monotonic()
    with pytest.raises(errors.NetworkError) as caught:
        call()
    elapsed = time.monotonic() - began
    assert type(caught.value) is kind, caught.value
    assert after - 0.005 <= elapsed <= after + SLACK
    return caught.value


def run(module: str, *arguments: str) -> str:
    """Run a module in a process of its own, without an error or a warning; returns its output."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", module, *arguments],
        capture_output=True,
        text=True,
        timeout=60 * SCALE,
        check=False,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
