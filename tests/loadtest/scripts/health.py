"""Scripts of test_health.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

import gevent
import msgpack

from geventecho.loadtest.measure import Account, processor
from geventecho.loadtest.measure.health import Health
from geventecho.results import HealthSecond


def sampled(health: Health) -> list[dict[str, Any]]:
    """The samples, packed and unpacked as on the way from a worker to its master."""
    samples = msgpack.loads(msgpack.dumps(health.take()))
    assert health.take() == []
    return [asdict(HealthSecond(*sample)) for sample in samples]


def health_of(account: Account) -> Health:
    return Health(account, lambda: 7)


def stopped(seconds: float) -> list[dict[str, Any]]:
    """This process is stopped for some seconds."""
    health = health_of(Account())
    health.start()
    gevent.sleep(0.1)
    command = f"kill -STOP {os.getpid()}; sleep {seconds}; kill -CONT {os.getpid()}"
    with subprocess.Popen(["sh", "-c", command]) as stopper:
        while stopper.poll() is None:
            gevent.sleep(0.01)
    gevent.sleep(0.1)
    health.stop()
    return sampled(health)


def counted() -> list[dict[str, Any]]:
    """Operations and planned tasks in two or three seconds of the clock."""
    account = Account()
    account.started, account.ok, account.aborted, account.planned = 1000, 890, 10, 500  # before the start
    health = health_of(account)
    account.pausing = 5
    health.start()
    end = time.perf_counter() + 1.2
    while time.perf_counter() < end:
        account.started += 4
        account.ok += 1
        account.failed += 1
        account.aborted += 1
        account.planned += 3
        account.sent += 2
        account.late += 1
        account.dropped += 1
        account.waited += 2
        gevent.sleep(0.05)
    health.stop()
    samples = sampled(health)
    health.start()  # the next test
    health.stop()
    assert len(health.take()) == 1
    return samples


def unheard_start() -> list[dict[str, Any]]:
    """Users begin without a start of the test, as on a worker that connects late."""
    account, users = Account(), [0]
    health = Health(account, lambda: users[0])
    assert health.take() == []
    gevent.sleep(0.1)
    assert health.take() == []
    users[0], account.started, account.connects, account.open = 3, 5, 3, 2
    assert health.take() == []
    gevent.sleep(0.1)
    health.hold()
    users[0] = account.open = 0
    health.stop()
    return sampled(health)


def beside_a_busy_process() -> dict[str, Any]:
    """This process never rests, and another process shares its core."""
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    health = health_of(Account())
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        health.start()
        used = time.process_time()
        end = time.perf_counter() + 1.5
        while time.perf_counter() < end:
            gevent.sleep(0)
        health.stop()
        used = time.process_time() - used
        busy.kill()
    return {"used": used, "samples": sampled(health)}


def suspended(seconds: float) -> list[dict[str, Any]]:
    """CLOCK_BOOTTIME, which counts the time of a suspension, goes ahead."""
    known = time.clock_gettime
    health = health_of(Account())
    health.start()
    gevent.sleep(0.1)
    ahead = {time.CLOCK_BOOTTIME: seconds}
    time.clock_gettime = lambda clock: known(clock) + ahead.get(clock, 0.0)
    health.stop()
    return sampled(health)


def without_files() -> list[dict[str, Any]]:
    """A container in which processor.py can open no file."""
    processor._opened = lambda path: -1
    health = health_of(Account())
    health.start()
    gevent.sleep(0.1)
    health.stop()
    return sampled(health)


def cgroup_files(membership: str) -> list[tuple[str, float]]:
    return [(str(path), unit) for path, unit in processor.cgroup_files(membership)]
