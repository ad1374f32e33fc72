"""Users do not stay in step after a stall of the server, or after Locust has spawned them in one instant."""

from __future__ import annotations

import pytest

from tests.support.locust_script import run_script

UNEVEN = 27.9
"""The chi-square of ten equally likely parts (9 degrees of freedom) is larger once in a thousand times."""


@pytest.mark.parametrize("think", [0.25, 1.0, 7.0])
def test_a_thousand_users_in_step_are_spread_evenly_after_ten_waits(think: float) -> None:
    before, after = run_script("lockstep.after_a_stall", think)
    assert before == pytest.approx(9000)
    assert after < UNEVEN


def test_waits_differ_from_the_think_time_by_up_to_half_and_have_it_as_their_mean() -> None:
    shortest, mean, longest = run_script("lockstep.shortest_mean_longest", 2.0)
    assert 1.0 <= shortest < 1.01
    assert mean == pytest.approx(2.0, rel=0.01)
    assert 2.99 < longest <= 3.0


def test_a_think_time_of_zero_is_no_pause() -> None:
    assert run_script("lockstep.shortest_mean_longest", 0.0) == [0, 0, 0]


@pytest.mark.parametrize("rate", [1, 100, 1000])
def test_users_spawned_in_bursts_are_spread_evenly_after_a_wait(rate: int) -> None:
    """Locust spawns `rate` users in one instant, once a second."""
    assert max(run_script("lockstep.after_bursts", rate)) < UNEVEN
