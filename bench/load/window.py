"""A locustfile without users, loaded beside the one with users: it measures a window of the run and ends the run.

It writes a JSON object to $BENCH_OUTPUT: CPU and wall time, requests, failures, users, memory, and percentiles of the
response time since the mark before. Marks are at the start of the test ("start"), when all users are spawned
("spawned"), at the beginning of the window ("begin") and at the end of each of its parts ("1", "2" and so on; the last
one is also "end").
"""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import gevent
from locust import events
from locust.stats import calculate_response_time_percentile

SETTLE = float(os.environ["BENCH_SETTLE"])  # seconds from the last spawn to the window
WINDOW = float(os.environ["BENCH_WINDOW"])  # seconds
PARTS = int(os.environ["BENCH_PARTS"])  # of the window, all of the same length
PERCENTILES = {"50": 0.5, "95": 0.95, "99": 0.99, "99_9": 0.999}

_marks: dict[str, dict[str, float]] = {}
_times: Counter[int] = Counter()  # the number of each rounded response time up to the last mark


def _mark(name: str, environment: Any) -> None:
    entries = [entry for (entry_name, _), entry in environment.stats.entries.items() if entry_name == "echo"]
    status = Path("/proc/self/status").read_text()
    resident = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert resident is not None
    times: Counter[int] = Counter()
    for entry in entries:
        times.update(entry.response_times)
    since = times - _times
    _times.update(since)
    _marks[name] = {
        "at": time.monotonic(),
        "epoch": time.time(),
        "cpu": time.process_time(),
        "requests": sum(entry.num_requests for entry in entries),
        "failures": environment.stats.total.num_failures,
        "users": environment.runner.user_count,
        "resident_kib": int(resident[1]),
        **{
            f"p{name}_ms": calculate_response_time_percentile(since, since.total(), part)
            for name, part in PERCENTILES.items()
        },
    }


def _on_init(environment: Any, **_: Any) -> None:
    def measure() -> None:
        gevent.sleep(SETTLE)
        _mark("begin", environment)
        for part in range(PARTS):
            gevent.sleep(WINDOW / PARTS)
            _mark(str(part + 1), environment)
        _marks["end"] = _marks[str(PARTS)]
        Path(os.environ["BENCH_OUTPUT"]).write_text(json.dumps(_marks))
        environment.runner.quit()

    def on_spawned(**_: Any) -> None:
        _mark("spawned", environment)
        gevent.spawn(measure)

    environment.events.test_start.add_listener(lambda **_: _mark("start", environment))
    environment.events.spawning_complete.add_listener(on_spawned)


events.init.add_listener(_on_init)
