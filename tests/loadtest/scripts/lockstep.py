"""Scripts of test_lockstep.py."""

from __future__ import annotations

import random
from argparse import Namespace
from collections import Counter

from locust.env import Environment

from geventecho.loadtest import TcpUser
from geventecho.loadtest.users.spawning import Burst


class User(TcpUser):
    host = "127.0.0.1:1"


def make(think: float) -> list[User]:
    """A thousand users."""
    random.seed(1)
    return [User(Environment(parsed_options=Namespace(tcp_think_time=think))) for _ in range(1000)]


def wait(users: list[User], times: list[float], waits: int) -> list[float]:
    """The times at which users that begin at `times` have waited `waits` times."""
    for _ in range(waits):
        times = [time + user.wait_time() for user, time in zip(users, times, strict=True)]
    return times


def unevenness(times: list[float], think: float) -> float:
    """Chi-square of the users' places in a think time, over ten equal parts of it."""
    counts = Counter(int(time / think * 10) % 10 for time in times)
    return sum((counts[part] - 100) ** 2 / 100 for part in range(10))


def after_a_stall(think: float) -> list[float]:
    """Unevenness when the server answers all users in the same instant, and ten waits later."""
    users = make(think)
    wait(users, [0.0] * 1000, 3)
    at_a_stall = [100.0] * 1000
    return [unevenness(at_a_stall, think), unevenness(wait(users, at_a_stall, 10), think)]


def shortest_mean_longest(think: float) -> list[float]:
    waits = sorted(user.wait_time() for user in make(think) for _ in range(20))
    return [waits[0], sum(waits) / len(waits), waits[-1]]


def after_bursts(rate: int) -> list[float]:
    """Unevenness of users that Locust spawned `rate` a second, after one wait and after ten."""
    users, times = make(1.0), list[float]()
    for second in range(1000 // rate):
        burst = Burst()
        burst.size = rate
        times += [second + burst.delay() for _ in range(rate)]
    return [unevenness(wait(users, times, waits), 1.0) for waits in (1, 10)]
