"""Final numbers: what the users fired is what the master counts, and what every file says.

Locust 2.47 sends a worker's last report only when the master tells it to quit, and the master waits half a second for
it: a run that ends by `--run-time`, Ctrl-C or SIGTERM loses up to three seconds of requests, or all of them. Here the
master, before it stops, asks each worker to stop its users and report, and waits for the answer. A worker that is ended
by itself reports before it says goodbye.

Locust's CSV files lack the last second and its HTML report, after a signal, the last numbers: both are written once
more at the very end.
"""

from __future__ import annotations

import logging
import signal
import sys
import time
from typing import Any, Final

import gevent
from gevent.lock import RLock
from locust.env import Environment
from locust.runners import STATE_MISSING, MasterRunner, Runner, WorkerRunner

from geventecho.loadtest.run.exit_code import Balance
from geventecho.loadtest.run.processes import Workers
from geventecho.loadtest.run.stock_files import write_html

__all__ = ["MasterFinish", "WorkerFinish", "install"]

logger = logging.getLogger("geventecho.loadtest")

# Messages between master and workers, through Locust's own channel, which keeps their order.
DRAIN: Final = "geventecho_drain"
DRAINED: Final = "geventecho_drained"
RESUME: Final = "geventecho_resume"
# Seconds a worker may take to stop its users, beyond --stop-timeout, before its last report is given up; and one that
# sends no heartbeats, which may be dead or only slow.
PATIENCE: Final = 30.0
PATIENCE_WITH_MISSING: Final = 5.0
# Seconds for the worker processes to exit once they were told to.
EXIT_PATIENCE: Final = 5.0


class WorkerFinish:
    """A worker's side: stop the users, report, say so."""

    def __init__(self, runner: WorkerRunner) -> None:
        self._runner = runner
        self._lock = RLock()
        runner.register_message(DRAIN, self.on_drain)
        runner.register_message(RESUME, self.on_resume)
        # `quitting` runs its listeners backwards: ours, later than the runner's, is before its goodbye to the master.
        runner.environment.events.quitting.add_listener(self.on_quitting)

    def on_drain(self, **_: Any) -> None:
        """The master is about to stop."""
        # A ramp-up that is still under way at the master goes on sending; a runner ignores orders of an earlier time.
        self._runner.last_received_spawn_timestamp = sys.maxsize
        self._report()
        self._runner.send_message(DRAINED)

    def on_resume(self, **_: Any) -> None:
        """The master starts another test."""
        self._runner.last_received_spawn_timestamp = 0

    def on_quitting(self, **_: Any) -> None:
        """This process ends: by the master's order, or by a signal of its own."""
        self._report()

    def _report(self) -> None:
        with self._lock:
            if self._runner.spawning_greenlet is not None:
                # It may not have run yet; then the runner takes itself for stopped, and it would spawn after the stop.
                self._runner.spawning_greenlet.kill()
            self._runner.stop()
            self._runner._send_stats()


class MasterFinish:
    """The master's side: before a test stops, have every worker's last report."""

    def __init__(self, runner: MasterRunner) -> None:
        self._runner = runner
        self._drained: set[str] = set()
        events = runner.environment.events
        runner.register_message(DRAINED, self.on_drained)
        events.test_start.add_listener(self.on_test_start)
        events.test_stopping.add_listener(self.on_test_stopping)

    def on_test_start(self, **_: Any) -> None:
        """Before the first order to spawn."""
        self._drained.clear()
        self._runner.send_message(RESUME)

    def on_drained(self, msg: Any, **_: Any) -> None:
        """A worker's answer; its report came before it."""
        self._drained.add(msg.node_id)

    def on_test_stopping(self, **_: Any) -> None:
        """Whatever ends the test: run time, the web UI, a signal, a shape. Twice at once does no harm."""
        runner = self._runner
        runner.send_message(DRAIN)
        begun = time.monotonic()
        while waiting := [worker for worker in runner.clients.values() if worker.id not in self._drained]:
            missing = all(worker.state == STATE_MISSING for worker in waiting)
            patience = runner.environment.stop_timeout + PATIENCE if not missing else PATIENCE_WITH_MISSING
            if time.monotonic() > begun + patience:
                names = ", ".join(worker.id for worker in waiting)
                logger.warning("No final report from %s: the numbers are not complete", names)
                return
            gevent.sleep(0.01)


def install(environment: Environment, runner: Runner, workers: Workers) -> None:
    """Set this process up, once its runner exists."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        # Python would raise KeyboardInterrupt in whatever greenlet runs: a user's, or one where Locust swallows it.
        gevent.signal_handler(signal.SIGINT, gevent.kill, gevent.get_hub().parent, KeyboardInterrupt)
    Balance(environment, runner)
    if isinstance(runner, WorkerRunner):
        WorkerFinish(runner)
        return
    # Before the exit code is made up, so that a failure in the users' last moments counts.
    if isinstance(runner, MasterRunner):
        MasterFinish(runner)
        environment.events.quitting.add_listener(lambda **_: runner.stop(send_stop_to_client=False))
    else:
        environment.events.quitting.add_listener(lambda **_: runner.stop())

    def on_quit(**_: Any) -> None:
        workers.wait(EXIT_PATIENCE)
        write_html(environment)

    environment.events.quit.add_listener(on_quit)
