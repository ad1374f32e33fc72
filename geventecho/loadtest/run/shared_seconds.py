"""Makes the seconds of all processes begin with the test."""

from __future__ import annotations

import time
from typing import Any, Final

from locust.runners import MasterRunner, Runner, WorkerRunner

from geventecho.loadtest.measure import SECONDS

__all__ = ["CLOCKS_APART", "SharedSeconds"]

CLOCKS_APART: Final = 5.0
"""Seconds that a worker's clock may differ from the master's, or a message may take. Beyond that the clocks differ."""
START: Final = "geventecho_start"
"""The master's message to a worker: when the test began. A worker asks for it with the same."""
WALL: Final = "wall_ns"
"""The instant in it, as time.time_ns()."""


class SharedSeconds:
    """Begins the seconds of this process, and on a master those of the workers.

    Args:
        runner: Locust's.
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
        """A test begins, on the master or in the only process. Return its first second."""
        self._start = time.time_ns()
        if isinstance(self._runner, MasterRunner):
            self._runner.send_message(START, {WALL: self._start})
        return SECONDS.begin(self._start)

    def on_worker(self, msg: Any, **_: Any) -> None:
        """A worker has connected. A test may run."""
        if self._start is not None:
            self._runner.send_message(START, {WALL: self._start}, msg.node_id)

    def on_start(self, msg: Any, **_: Any) -> None:
        """The master has begun a test, and its users come next."""
        SECONDS.begin(msg.data[WALL])
