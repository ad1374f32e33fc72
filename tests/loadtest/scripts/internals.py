"""Scripts of test_locust_internals.py."""

from __future__ import annotations

import inspect
from typing import Any

import locust.argument_parser
import locust.html
import locust.log
import locust.main
import locust.runners

from geventecho.loadtest import locust_internals as internals
from geventecho.loadtest.measure import keep_microseconds
from geventecho.loadtest.measure.tally import counter_of, counts_as_locust_does
from geventecho.loadtest.run import master_watch
from tests.support.harness import EchoUser, Run

PARTS: tuple[tuple[Any, str], ...] = (
    *(part.value for part in internals.Part),
    (locust.main, "main"),
    (locust.log, "unhandled_greenlet_exception"),
    (locust.html, "get_html_report"),
    (locust.html, "process_html_filename"),
    (locust.argument_parser, "get_empty_argument_parser"),
    (locust.argument_parser, "setup_parser_arguments"),
)
RUNNERS_CODE = (
    "self.last_received_spawn_timestamp",
    "self.spawning_greenlet",
    "self.clients",
    "def get_worker_index",
    "self.master_host = ",
    "self.master_port = ",
)


def present(target: str) -> dict[str, Any]:
    """Whether this Locust has the private parts that the load test uses, and whether users run on them."""
    keep_microseconds()
    run = Run(EchoUser, target, listen=False)
    run.wait(lambda: run.environment.stats.total.num_requests >= 5)
    user = next(iter(run.runner.user_greenlets)).args[0]
    found = {
        "loop": type(user._taskset_instance).__name__,
        "count": counter_of(run.environment, lambda: None) is not None and counts_as_locust_does(),
        "missing": [name for owner, name in PARTS if not hasattr(owner, name)],
        "runners": all(code in inspect.getsource(locust.runners) for code in RUNNERS_CODE),
    }
    run.finish()
    return found


def heartbeat_timeout() -> int:
    return master_watch.HEARTBEAT_TIMEOUT
