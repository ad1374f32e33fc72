"""Users that come and go leave nothing in memory, and the cycle collector rarely visits all objects."""

from __future__ import annotations

import pytest

from tests.support import peers
from tests.support.locust_script import run_script


@pytest.mark.parametrize("kind", ["WaitingUser", "PausingUser", "FailingUser", "ThoroughUser", "StoppingUser"])
def test_reference_counting_frees_a_user_that_has_ended(kind: str) -> None:
    with peers.echoes() as peer:
        before, after = run_script("leaving.without_the_collector", peer.target, kind)
    assert after <= before, "users, sessions and connections in memory"


def test_users_in_reference_cycles_are_freed_once_more_have_ended_than_run() -> None:
    with peers.echoes() as peer:
        found = run_script("leaving.with_cycles", peer.target)
    few, most = found.pop("alive")
    at_rest, busy = found.pop("passes")
    assert at_rest == 0, "200,000 new objects start no full collection while many users run"
    assert 1 <= busy <= 6
    assert most <= 3 * few, "the running users, as many ended users, and the ended users of one more round"
    assert found["frozen"] <= 0
    assert found["thresholds"]
