"""Users do not stay in step: not after a stall of the server, and not after they were spawned together."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.locust_script import run_script

USERS = """\
import collections, random
from argparse import Namespace
from locust.env import Environment
from geventecho.loadtest import TcpUser
class User(TcpUser):
    host = "127.0.0.1:1"
    tasks = [lambda user: None]
def make(think):
    return [User(Environment(parsed_options=Namespace(tcp_think_time=think))) for _ in range(1000)]
def wait(users, times, waits):
    for _ in range(waits):
        times = [time + user.wait_time() for user, time in zip(users, times)]
    return times
def unevenness(times, think):
    '''Chi-square of the users' places in a think time, over ten equal parts of it.'''
    counts = collections.Counter(int(time / think * 10) % 10 for time in times)
    return sum((counts[part] - 100) ** 2 / 100 for part in range(10))
random.seed(1)
"""
UNEVEN = 27.9
"""What the chi-square of ten equally likely parts (9 degrees of freedom) passes once in a thousand times."""


@pytest.mark.parametrize("think", [0.25, 1.0, 7.0])
def test_a_thousand_users_in_step_are_even_after_ten_waits(think: float, tmp_path: Path) -> None:
    text = f"""
users = make({think})
wait(users, [0.0] * 1000, 3)
at_a_stall = [100.0] * 1000  # the server answers all of them in the same instant
answer([unevenness(at_a_stall, {think}), unevenness(wait(users, at_a_stall, 10), {think})])
"""
    before, after = run_script(USERS + text, directory=tmp_path)
    assert before == pytest.approx(9000)
    assert after < UNEVEN


def test_the_think_time_is_a_mean(tmp_path: Path) -> None:
    text = """
waits = sorted(user.wait_time() for user in make(2.0) for _ in range(20))
answer([waits[0], sum(waits) / len(waits), waits[-1]])
"""
    shortest, mean, longest = run_script(USERS + text, directory=tmp_path)
    assert 1.0 <= shortest < 1.01
    assert mean == pytest.approx(2.0, rel=0.01)
    assert 2.99 < longest <= 3.0


def test_a_think_time_of_zero_is_no_pause(tmp_path: Path) -> None:
    assert run_script(USERS + "answer({user.wait_time() for user in make(0)} == {0})", directory=tmp_path)


@pytest.mark.parametrize("rate", [1, 100, 1000])
def test_users_spawned_in_bursts_are_even_after_a_wait(rate: int, tmp_path: Path) -> None:
    """Locust spawns `rate` users in one instant, once a second."""
    text = f"""
from geventecho.loadtest.users.arrival import Burst
users, times = make(1.0), []
for second in range({1000 // rate}):
    burst = Burst()
    burst.size = {rate}
    times += [second + burst.delay() for _ in range({rate})]
answer([unevenness(wait(users, times, waits), 1.0) for waits in (1, 10)])
"""
    assert max(run_script(USERS + text, directory=tmp_path)) < UNEVEN
