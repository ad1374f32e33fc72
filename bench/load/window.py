"""A locustfile without users, loaded beside the one with them: measures a window of the run and ends it.

It writes a JSON object to $BENCH_OUTPUT: CPU and wall time, requests, failures, users and memory at the start of the
test, when all users are spawned, and at both ends of the window.
"""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import gevent
from locust import events

SETTLE = float(os.environ["BENCH_SETTLE"])  # seconds from the last spawn to the window
WINDOW = float(os.environ["BENCH_WINDOW"])  # seconds

_marks: dict[str, dict[str, float]] = {}


def _mark(name: str, environment: Any) -> None:
    entries = [entry for (entry_name, _), entry in environment.stats.entries.items() if entry_name == "echo"]
    status = Path("/proc/self/status").read_text()
    resident = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    assert resident is not None
    _marks[name] = {
        "at": time.monotonic(),
        "cpu": time.process_time(),
        "requests": sum(entry.num_requests for entry in entries),
        "failures": environment.stats.total.num_failures,
        "users": environment.runner.user_count,
        "resident_kib": int(resident[1]),
    }


def _on_init(environment: Any, **_: Any) -> None:
    def measure() -> None:
        gevent.sleep(SETTLE)
        _mark("begin", environment)
        gevent.sleep(WINDOW)
        _mark("end", environment)
        Path(os.environ["BENCH_OUTPUT"]).write_text(json.dumps(_marks))
        environment.runner.quit()

    def on_spawned(**_: Any) -> None:
        _mark("spawned", environment)
        gevent.spawn(measure)

    environment.events.test_start.add_listener(lambda **_: _mark("start", environment))
    environment.events.spawning_complete.add_listener(on_spawned)


events.init.add_listener(_on_init)
