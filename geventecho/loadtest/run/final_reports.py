"""The last reports of the workers: the master counts every event of their users.

Locust's worker sends its last report only when the master tells it to quit, and the master waits half a second for it:
a run that ends by `--run-time`, Ctrl-C or SIGTERM loses up to three seconds of requests, or all of them. Here the
master, before it stops, asks each worker to stop its users and report, and waits for the answer. A worker that is ended
alone reports before it says goodbye. A worker that does not answer makes the run incomplete.
"""

from __future__ import annotations

import time
from typing import Any, Final

import gevent
from gevent.lock import RLock
from locust.runners import MasterRunner, WorkerRunner

from geventecho.loadtest.locust_internals import (
    forget_spawn_orders,
    ignore_spawn_orders,
    is_missing,
    kill_spawning,
    participants,
)

__all__ = ["MasterReports", "WorkerReports"]

# Messages between master and workers, through Locust's own channel, which keeps their order.
READY: Final = "geventecho_ready"
DRAIN: Final = "geventecho_drain"
DRAINED: Final = "geventecho_drained"
RESUME: Final = "geventecho_resume"
# Seconds that a worker may take to stop its users, beyond --stop-timeout; and the same for a worker without heartbeats,
# which may be dead or only slow.
PATIENCE: Final = 30.0
PATIENCE_WITH_MISSING: Final = 5.0
SILENCE: Final = 2.5
"""Seconds without a heartbeat (one comes each second) until a running test shows that a worker is lost. Locust reports
it as missing some seconds later."""
LOST: Final = "was lost: no heartbeat"


class WorkerReports:
    """A worker's side: stop the users, report, say so."""

    def __init__(self, runner: WorkerRunner) -> None:
        self._runner = runner
        self._lock = RLock()
        runner.register_message(DRAIN, self.on_drain)
        runner.register_message(RESUME, self.on_resume)
        # `quitting` calls its listeners in reverse order: ours was added later, so it runs before the runner quits.
        runner.environment.events.quitting.add_listener(self.on_quitting)
        runner.send_message(READY)

    def on_resume(self, **_: Any) -> None:
        """The master starts a test."""
        forget_spawn_orders(self._runner)
        self._runner.send_message(READY)

    def on_drain(self, **_: Any) -> None:
        """The master is about to stop. If it is still in a ramp-up, it goes on sending orders to spawn."""
        ignore_spawn_orders(self._runner)
        self._report()

    def on_quitting(self, **_: Any) -> None:
        """This process ends: by the master's order, or by a signal of its own."""
        self._report()

    def _report(self) -> None:
        runner = self._runner
        with self._lock:
            kill_spawning(runner)
            runner.stop()
            report: dict[str, Any] = {}
            runner.environment.events.report_to_master.fire(client_id=runner.client_id, data=report)
            runner.send_message("stats", report)
            runner.send_message(DRAINED)


class MasterReports:
    """The master's side: before a test stops, have every worker's last report."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._ready: set[str] = set()  # have this plugin, and a TcpUser
        self._expected: set[str] = set()
        self._drained: set[str] = set()
        self._heard: dict[str, float] = {}
        self._lacking: dict[str, str] | None = {}
        events = runner.environment.events
        runner.register_message(READY, self.on_ready)
        runner.register_message(DRAINED, self.on_drained)
        events.worker_connect.add_listener(self.on_worker_connect)
        events.heartbeat_sent.add_listener(self.on_heartbeat)
        events.test_start.add_listener(self.on_test_start)
        events.test_stopping.add_listener(self.on_test_stopping)

    @property
    def lacking(self) -> dict[str, str]:
        """The workers without a last report, by id, each with the reason; while a test runs, those that are silent
        now. Each test resets it.
        """
        if self._lacking is not None:
            return self._lacking
        waited_for = (self._expected & self._ready) - self._drained
        return {worker: LOST for worker in sorted(waited_for) if self._is_silent(worker)}

    def on_ready(self, msg: Any, **_: Any) -> None:
        """A worker is there, and will answer."""
        self._ready.add(msg.node_id)

    def on_drained(self, msg: Any, **_: Any) -> None:
        """A worker's answer; its report came before it."""
        self._drained.add(msg.node_id)

    def on_heartbeat(self, client_id: str, **_: Any) -> None:
        """A worker's heartbeat has come, and was answered."""
        self._heard[client_id] = time.monotonic()

    def on_worker_connect(self, client_id: str, **_: Any) -> None:
        """A worker came, or came back. Locust gives it users at once if a test is running."""
        if self._runner.state in ("spawning", "running"):
            self._expected.add(client_id)

    def on_test_start(self, **_: Any) -> None:
        """Before the first order to spawn."""
        self._lacking = None
        self._drained.clear()
        self._expected = participants(self._runner)
        self._runner.send_message(RESUME)

    def on_test_stopping(self, **_: Any) -> None:
        """The test ends, by run time, the web UI, a signal or a shape. Two calls at once are safe."""
        runner = self._runner
        runner.send_message(DRAIN)
        begun = time.monotonic()
        while waiting := (self._expected & self._ready) - self._drained:
            patience = runner.environment.stop_timeout + PATIENCE
            if all(is_missing(runner, worker) for worker in waiting):
                patience = PATIENCE_WITH_MISSING
            if time.monotonic() > begun + patience:
                break
            gevent.sleep(0.01)
        self._lacking = {worker: self._why(worker) for worker in sorted(self._expected - self._drained)}

    def _is_silent(self, worker: str) -> bool:
        now = time.monotonic()
        return is_missing(self._runner, worker) or now - self._heard.get(worker, now) > SILENCE

    def _why(self, worker: str) -> str:
        if worker not in self._ready:
            return "runs without geventecho.loadtest, or without a TcpUser"
        if is_missing(self._runner, worker):
            return LOST
        return f"did not answer within {self._runner.environment.stop_timeout + PATIENCE:g} seconds"
