"""Users that come and go leave nothing in memory, and the cycle collector's pauses stay short."""

from __future__ import annotations

import pytest

from tests.support import peers
from tests.support.locust_script import run_script


@pytest.mark.parametrize("kind", ["WaitingUser", "PausingUser", "FailingUser", "ThoroughUser", "TiredUser"])
def test_reference_counting_frees_a_user_that_has_ended(kind: str) -> None:
    with peers.echoes() as peer:
        before, after = run_script("leaving.without_the_collector", peer.target, kind)
    assert after <= before, "the users that are there, their sessions and connections"


def test_users_with_cycles_are_freed_when_more_left_than_stay() -> None:
    with peers.echoes() as peer:
        found = run_script("leaving.with_cycles", peer.target)
    few, most = found.pop("alive")
    at_rest, busy = found.pop("passes")
    assert at_rest == 0, "200,000 new objects are no reason to look at all while there are many users"
    assert 1 <= busy <= 6
    assert most <= 3 * few, "as many that left as stay, and a round more"
    assert found["frozen"] <= 0
    assert found["thresholds"]
