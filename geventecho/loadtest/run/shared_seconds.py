"""Makes the seconds of all processes begin at the start of the test."""

from __future__ import annotations

import time
from typing import Any, Final

from locust.runners import MasterRunner, Runner, WorkerRunner

from geventecho.loadtest.measure import SECONDS

__all__ = ["CLOCKS_APART", "SharedSeconds"]

CLOCKS_APART: Final = 5.0
"""Seconds that a message may take. If a worker's clock seems further off, it differs from the master's clock."""
START: Final = "geventecho_start"
"""The master's message to a worker with the start of the test. A worker asks for it with a message of the same name."""
WALL: Final = "wall_ns"
"""The key of the start in the message, as time.time_ns()."""


class SharedSeconds:
    """Begins the seconds of this process, and on a master the seconds of the workers.

    Args:
        runner: Locust's runner.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._start: int | None = None
        if isinstance(runner, WorkerRunner):
            runner.register_message(START, self.on_start)
            runner.send_message(START)
        elif isinstance(runner, MasterRunner):
            runner.register_message(START, self.on_worker)

    def begin(self) -> int:
        """Begin a test on the master or in the only process. Return its first second."""
        self._start = time.time_ns()
        if isinstance(self._runner, MasterRunner):
            self._runner.send_message(START, {WALL: self._start})
        return SECONDS.begin(self._start)

    def on_worker(self, msg: Any, **_: Any) -> None:
        """Send the start to a worker that has connected: a test may be running."""
        if self._start is not None:
            self._runner.send_message(START, {WALL: self._start}, msg.node_id)

    def on_start(self, msg: Any, **_: Any) -> None:
        """Begin the seconds: the master has begun a test, and its users follow."""
        SECONDS.begin(msg.data[WALL])
