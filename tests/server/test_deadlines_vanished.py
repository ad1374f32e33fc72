"""Due-time buckets: vanished peers, found by the acknowledgements of their kernels."""

from __future__ import annotations

from typing import Any

import pytest

from geventecho.net.tcp_info import TcpLiveness
from geventecho.server import deadlines
from geventecho.server.counters import Ending
from geventecho.server.deadlines import QUIET, SILENCE, TICK
from tests.support.ticking import Bench, Peer, Watched


def vanishing(patch: pytest.MonkeyPatch, **limits: Any) -> tuple[Bench, Peer, Watched]:
    bench = Bench(patch, **limits)
    peer = Peer(bench, patch)
    return bench, peer, bench.accept()


def test_a_peer_that_acknowledges_nothing_for_thirty_seconds_has_vanished(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, peer, watched = vanishing(monkeypatch)
    bench.run(100)
    assert not watched.endings
    since = peer.last_answer = bench.now
    bench.carry(watched)
    peer.outstanding = peer.unanswered = peer.sends_again = True
    bench.until_ended(watched)
    assert watched.endings == [Ending.VANISHED]
    assert SILENCE <= bench.now - since <= SILENCE + 1 + 4 * TICK


def test_a_peer_that_answers_and_takes_nothing_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel probes less and less often: one or two minutes may pass between two answers."""
    bench, peer, watched = vanishing(monkeypatch)
    peer.outstanding = True
    bench.run(500)
    assert not watched.endings


def test_bytes_sent_a_moment_ago_may_still_be_acknowledged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handler sends after a minute of silence. The silence is old, but the bytes are new."""
    bench, peer, watched = vanishing(monkeypatch)
    bench.run(59)
    bench.carry(watched)
    since = bench.now
    peer.outstanding = peer.unanswered = peer.sends_again = True
    bench.run(25)
    assert not watched.endings
    bench.until_ended(watched)
    assert SILENCE <= bench.now - since <= SILENCE + 1 + 4 * TICK


@pytest.mark.parametrize("talks", [False, True])
def test_an_idle_peer_that_does_not_answer_keep_alive_has_vanished(
    talks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while a handler goes on sending to the peer."""
    bench, peer, watched = vanishing(monkeypatch)
    peer.unanswered, peer.outstanding = True, talks
    while not watched.endings:
        bench.run(1)
        if talks:
            bench.carry(watched)
    assert watched.endings == [Ending.VANISHED]
    assert QUIET <= bench.now - peer.last_answer <= QUIET + 2


def test_a_connection_whose_handler_closed_it_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, _, watched = vanishing(monkeypatch)

    def closed(_sock: object) -> TcpLiveness:
        raise OSError(9, "Bad file descriptor")

    monkeypatch.setattr(deadlines, "tcp_liveness", closed)
    bench.run(500)
    assert not watched.endings
    assert not bench.deadlines._buckets
