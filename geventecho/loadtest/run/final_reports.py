"""The last reports of the workers, so that the master counts every event of their users.

Locust's worker sends its last report only when the master tells it to quit, and the master waits half a second for it.
So a run that ends by `--run-time`, Ctrl-C or SIGTERM loses up to three seconds of requests, or all of them. Here the
master asks each worker to stop its users and report, and waits for the answers before it stops. A worker that is ended
alone reports before it leaves. If a worker does not answer, the run is incomplete.
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
# Seconds that a worker may take to stop its users, beyond --stop-timeout; and the seconds for a worker without
# heartbeats, which may be dead or only slow.
REPORT_TIMEOUT: Final = 30.0
REPORT_TIMEOUT_OF_MISSING: Final = 5.0
HEARTBEAT_TIMEOUT: Final = 2.5
"""Seconds without a heartbeat after which a running test shows that a worker is lost. A heartbeat comes each second.
Locust reports the worker as missing some seconds later."""
LOST: Final = "was lost: no heartbeat"


class WorkerReports:
    """The worker's side: stop the users, report, and send a message after the report."""

    def __init__(self, runner: WorkerRunner) -> None:
        self._runner = runner
        self._lock = RLock()
        runner.register_message(DRAIN, self.on_drain)
        runner.register_message(RESUME, self.on_resume)
        # `quitting` calls its listeners in reverse order. Ours is added after the runner's, so it is called first.
        runner.environment.events.quitting.add_listener(self.on_quitting)
        runner.send_message(READY)

    def on_resume(self, **_: Any) -> None:
        """Be ready for the test that the master starts."""
        forget_spawn_orders(self._runner)
        self._runner.send_message(READY)

    def on_drain(self, **_: Any) -> None:
        """Stop and report: the master is about to stop. During a ramp-up it still sends orders to spawn users."""
        ignore_spawn_orders(self._runner)
        self._report()

    def on_quitting(self, **_: Any) -> None:
        """Stop and report: this process ends by the master's order, or by a signal."""
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
    """The master's side: wait for the last report of every worker before a test stops."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._ready: set[str] = set()  # workers with this plugin and a TcpUser
        self._expected: set[str] = set()
        self._drained: set[str] = set()
        self._heartbeat_at: dict[str, float] = {}
        self._incomplete: dict[str, str] | None = {}
        events = runner.environment.events
        runner.register_message(READY, self.on_ready)
        runner.register_message(DRAINED, self.on_drained)
        events.worker_connect.add_listener(self.on_worker_connect)
        events.heartbeat_sent.add_listener(self.on_heartbeat)
        events.test_start.add_listener(self.on_test_start)
        events.test_stopping.add_listener(self.on_test_stopping)

    @property
    def incomplete(self) -> dict[str, str]:
        """Why a worker has no last report, by the worker's id. While a test runs, it has the silent workers. Each test
        resets it.
        """
        if self._incomplete is not None:
            return self._incomplete
        waited_for = (self._expected & self._ready) - self._drained
        return {worker: LOST for worker in sorted(waited_for) if self._is_silent(worker)}

    def on_ready(self, msg: Any, **_: Any) -> None:
        """A worker has connected, and will answer."""
        self._ready.add(msg.node_id)

    def on_drained(self, msg: Any, **_: Any) -> None:
        """A worker has answered. Its report came before the answer."""
        self._drained.add(msg.node_id)

    def on_heartbeat(self, client_id: str, **_: Any) -> None:
        """A worker's heartbeat has come, and was answered."""
        self._heartbeat_at[client_id] = time.monotonic()

    def on_worker_connect(self, client_id: str, **_: Any) -> None:
        """A worker has connected, perhaps again. If a test is running, Locust gives it users at once."""
        if self._runner.state in ("spawning", "running"):
            self._expected.add(client_id)

    def on_test_start(self, **_: Any) -> None:
        """A test starts; the first order to spawn users follows."""
        self._incomplete = None
        self._drained.clear()
        self._expected = participants(self._runner)
        self._runner.send_message(RESUME)

    def on_test_stopping(self, **_: Any) -> None:
        """Wait for the reports: the test ends by run time, web UI, signal or shape. Two calls at once are safe."""
        runner = self._runner
        runner.send_message(DRAIN)
        begun = time.monotonic()
        while waiting := (self._expected & self._ready) - self._drained:
            timeout = runner.environment.stop_timeout + REPORT_TIMEOUT
            if all(is_missing(runner, worker) for worker in waiting):
                timeout = REPORT_TIMEOUT_OF_MISSING
            if time.monotonic() > begun + timeout:
                break
            gevent.sleep(0.01)
        self._incomplete = {worker: self._why(worker) for worker in sorted(self._expected - self._drained)}

    def _is_silent(self, worker: str) -> bool:
        now = time.monotonic()
        return is_missing(self._runner, worker) or now - self._heartbeat_at.get(worker, now) > HEARTBEAT_TIMEOUT

    def _why(self, worker: str) -> str:
        if worker not in self._ready:
            return "runs without geventecho.loadtest, or without a TcpUser"
        if is_missing(self._runner, worker):
            return LOST
        return f"did not answer within {self._runner.environment.stop_timeout + REPORT_TIMEOUT:g} seconds"
