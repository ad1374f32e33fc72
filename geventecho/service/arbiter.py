"""Several processes that serve the same listeners, on gunicorn's arbiter.

gunicorn forks, queues signals and notices the end of a child. This module acts on signals, detects stuck workers, and
does the reload and the stop. gunicorn's own code fits HTTP workers: its `reload` waits for the old workers, its `stop`
ignores a second SIGTERM, and an exit code of 3 or 4 halts everything. This process never runs gevent's loop.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
import time
from collections.abc import Callable
from typing import Final, NoReturn

from gunicorn.arbiter import Arbiter

from geventecho.errors import GeventechoError
from geventecho.net import QueueDrops
from geventecho.server import Endpoints, StopReport
from geventecho.service.crash_loop import CrashLoop
from geventecho.service.gunicorn_settings import Settings
from geventecho.service.heartbeat import BEAT_SECONDS
from geventecho.service.logs import ANSWER
from geventecho.service.prefork_worker import HANDLED, LATE_BEATS_NS, LOG_STACKS, PreforkWorker
from geventecho.service.service import Service
from geventecho.service.shared_counters import SharedCounters, WorkerState, open_of
from geventecho.service.systemd import notify
from geventecho.service.worker import EXIT_LOST
from geventecho.service.workers import Plan

__all__ = ["WorkerArbiter"]

logger = logging.getLogger("geventecho.workers")

PAUSE_SECONDS: Final = 1.5
"""A longer round of the arbiter is a sign that the machine or the process was paused (Ctrl-Z)."""
STACK_SECONDS: Final = 0.5
"""Time for a stuck worker to log its stacks before it is killed."""
ROUND_SECONDS: Final = 0.5
"""Time between two checks of the workers when no signal comes."""
BUSY_ROUND_SECONDS: Final = 0.01
"""Time between two checks while workers start or the service stops."""
CLOSE_SECONDS: Final = 0.03
"""Time for the workers to accept the connections in the accept queue before the listener is shut down."""
BEFORE_START: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
"""Signals that have an effect before all workers listen. Others do nothing: the first output must be the address."""


class WorkerArbiter(Arbiter):  # type: ignore[misc]
    """Keeps the workers alive. See `geventecho.service.serve_with_workers`."""

    def __init__(
        self,
        endpoints: Endpoints,
        plan: Plan,
        service: Service,
        reload: Callable[[], Plan],
    ) -> None:
        super().__init__(Settings())
        self.WORKERS: dict[int, PreforkWorker] = {}
        self.worker_class = self._make_worker
        self.num_workers = plan.workers
        self.shared = SharedCounters(plan.workers * 8 + 16)
        self.shared["started_s"] = int(time.time())
        self._endpoints = endpoints
        self._listeners = endpoints.listeners()
        self._drops = [QueueDrops(listener) for listener in self._listeners]
        self._own = self.shared.slots[0]
        self._own["state"] = WorkerState.ARBITER
        self._plan = plan
        self._trial: Plan | None = None
        self._new_worker: PreforkWorker
        self._has_started = self._is_stopping = False
        self._crashes = CrashLoop()
        self._last_round = time.monotonic()
        self._grace_ends_at = 0.0
        self._service = service
        self._output = service.output
        self._reload = reload

    # The rounds -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Install the signal handlers. gunicorn's `start` also opens listeners, and notifies systemd too early."""
        self.pid = os.getpid()
        self.init_signals()

    def wait_for_signals(self, timeout: float = ROUND_SECONDS) -> list[int]:
        """Return only the next signal, if one came: signals that gunicorn returns with a SIGTERM would be lost."""
        is_busy = self._is_stopping or self._trial or not self._has_started or self._crashes.delay() > 0
        try:
            number: int = self.SIG_QUEUE.get(timeout=BUSY_ROUND_SECONDS if is_busy else min(timeout, ROUND_SECONDS))
        except queue.Empty:
            return []
        return [number] if self._has_started or number in BEFORE_START else []

    def manage_workers(self) -> None:
        """Start or retire workers until their number is right. It is called at the end of each round."""
        self._count()
        self._check_start()
        self._check_trial()
        self._notice_drains()
        current = self._workers_of(self._plan)
        for worker in current[: max(0, len(current) - self.num_workers)]:
            self._retire(worker)
        for _ in range(self.num_workers - len(current)):
            if self._crashes.delay() > 0:
                break
            self._start_worker(self._plan)

    def murder_workers(self) -> None:
        """End stuck workers: first by a signal at which they log their stacks, then by SIGKILL."""
        now = time.monotonic()
        if now - self._last_round > PAUSE_SECONDS:
            # This process was stopped, and most likely its workers were, too: leave them time for a heartbeat.
            self._grace_ends_at = now + PAUSE_SECONDS
        self._last_round = now
        if now < self._grace_ends_at:
            return
        for worker in list(self.WORKERS.values()):
            if worker.aborted_at is not None:
                if now - worker.aborted_at > STACK_SECONDS:
                    self.kill_worker(worker.pid, signal.SIGKILL)
            elif reason := worker.fault(now):
                logger.critical("worker %d is stuck and is killed: %s", worker.pid, reason)
                worker.aborted_at = now
                self.kill_worker(worker.pid, LOG_STACKS)

    def reap_workers(self) -> None:
        """Collect the children that have ended. Process 1 also gets orphans of other processes."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            if (worker := self.WORKERS.pop(pid, None)) is not None:
                self._ended(worker, os.waitstatus_to_exitcode(status))

    # Starts -----------------------------------------------------------------------------------------------------------

    def _start_worker(self, plan: Plan) -> None:
        slot = self.shared.take()
        if slot is None:
            self._not_started(f"the first start made room for {len(self.WORKERS)} processes only")
            return
        descriptors = [listener.fileno() for listener in self._listeners]
        worker = None
        # Until the worker has its own handlers, the arbiter's handlers would take its signals.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            worker = PreforkWorker(plan, slot, self.shared, self._service, descriptors, arbiter=self.pid)
            self._new_worker = worker
            self.spawn_worker()
        except OSError as error:
            worker.clean_up() if worker else slot.free()
            self._not_started(error.strerror or str(error))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def _not_started(self, reason: str) -> None:
        logger.error("no worker is started: %s", reason)
        if not self._has_started:
            self._end_now(1)
        self._crashes.wait()

    def _make_worker(self, *_: object) -> PreforkWorker:
        """Stand in for the worker class: gunicorn calls this just before the fork."""
        return self._new_worker

    def _check_start(self) -> None:
        workers = self._workers_of(self._plan)
        if self._has_started or len(workers) < self.num_workers or not all(worker.listens for worker in workers):
            return
        self._has_started = True
        self._notify_ready()
        self._service.on_listening(self._endpoints.addresses, len(workers), workers[0].slot["max_connections"])

    def _count(self) -> None:
        """Count the drops of the accept queues. Each worker would see all of them, so only this process counts."""
        if drops := sum(drops.count(drops.ANY) for drops in self._drops):
            self._own["queue_drops"] += drops
            logger.warning("connects dropped because the accept queue was full: %d", drops)
        self._own["log_dropped"], self._own["output_dropped"] = self._service.log.dropped, self._output.dropped

    def _notify_ready(self) -> None:
        notify("READY=1", f"STATUS={self.num_workers} workers listen")

    def _workers_of(self, plan: Plan | None) -> list[PreforkWorker]:
        """Return the workers of a plan that are not told to end, the oldest first."""
        return [worker for worker in self.WORKERS.values() if worker.plan is plan and worker.retired_at is None]

    # Ends -------------------------------------------------------------------------------------------------------------

    def _retire(self, worker: PreforkWorker) -> None:
        worker.retired_at = time.monotonic()
        self.kill_worker(worker.pid, signal.SIGTERM)

    def _notice_drains(self) -> None:
        """Have workers replaced that got SIGTERM from another process: they accept no connections any more."""
        for worker in self.WORKERS.values():
            if worker.retired_at is None and worker.slot["state"] == WorkerState.DRAINING:
                worker.retired_at = time.monotonic()
                self.shared["restarts"] += 1
                logger.warning("worker %d drains and is replaced: another process has sent SIGTERM", worker.pid)

    def _ended(self, worker: PreforkWorker, code: int) -> None:
        has_listened = worker.slot["state"] != WorkerState.STARTING
        worker.clean_up()
        how = f"{signal.Signals(-code).name} ended it" if code < 0 else "it ended by itself"
        if self._is_stopping or worker.retired_at is not None:
            if code < 0:
                logger.error("worker %d did not finish its drain: %s", worker.pid, how)
            return
        logger.error("worker %d has ended: %s", worker.pid, how)
        if not self._has_started:
            self._end_now(1)
        if worker.plan is self._trial:
            self._give_up_trial()
            return
        self.shared["restarts"] += 1
        is_served = has_listened or any(each.listens for each in self.WORKERS.values())
        was_killed = is_served and (code == -signal.SIGKILL or worker.aborted_at is not None)
        if was_killed and not has_listened:
            self._crashes.wait()
        if not was_killed and self._crashes.count(time.monotonic() - worker.started_at):
            logger.critical("the workers end again and again: no more workers are started")
            self._stop(exit_code=1)

    def _stop(self, number: int = 0, exit_code: int = 0) -> NoReturn:
        """Drain all workers, and end the process."""
        if not self._has_started:
            self._end_now(128 + number)
        self._is_stopping = True
        self.shared["stopping"] = 1
        notify("STOPPING=1", "STATUS=draining")
        before = self.shared.totals()
        for worker in self.WORKERS.values():
            if worker.retired_at is None:
                self._retire(worker)
        self._close_listeners()
        while self.WORKERS:
            for received in self.wait_for_signals():
                if received in (signal.SIGTERM, signal.SIGINT):
                    self._refresh_counters()
                    self._end_now(128 + received, before)
                if received == signal.SIGUSR1:
                    self.handle_usr1()
            self.reap_workers()
            self.murder_workers()
        lost = self._report(before)
        raise SystemExit(exit_code or (EXIT_LOST if lost else 0))

    def _close_listeners(self) -> None:
        """Close this process's descriptors of the listeners once the workers have closed theirs.

        A stuck worker keeps its descriptors open, so the listeners are also shut down.
        """
        end = time.monotonic() + CLOSE_SECONDS
        while any(worker.listens for worker in self.WORKERS.values()) and time.monotonic() < end:
            time.sleep(0.001)
        self._count()
        self._drops = []
        self._endpoints.end_listening()
        self._endpoints.shut()

    def _end_now(self, code: int, before: dict[str, int] | None = None) -> NoReturn:
        for worker in self.WORKERS.values():
            os.kill(worker.pid, signal.SIGKILL)
        for worker in self.WORKERS.values():
            os.waitpid(worker.pid, 0)
            worker.clean_up()
        self.WORKERS.clear()
        if before is not None:
            self._report(before)
        raise SystemExit(code)

    def _report(self, before: dict[str, int]) -> int:
        """Write the counters and the last line after the last worker; return the bytes lost since `before`."""
        self._print_counters()
        totals = self.shared.totals()
        counts = {name: totals[name] - before[name] for name in totals}
        cut = counts["ended_cut"] + counts["ended_killed"]
        report = StopReport(
            drained=sum(counts[name] for name in counts if name.startswith("ended_")) - cut,
            cut=cut,
            bytes_lost=counts["bytes_lost"],
            bytes_discarded=counts["bytes_discarded"],
        )
        self._output.write(f"stopped: {report}")
        return report.bytes_lost

    def _print_counters(self) -> None:
        self._count()
        totals = self.shared.totals()
        totals |= {"open": open_of(totals), "restarts": self.shared["restarts"]}
        shown = " ".join(f"{name}={count}" for name, count in totals.items() if count)
        self._output.write(f"counters: {shown or 'none'}")

    # Signals ----------------------------------------------------------------------------------------------------------

    def handle_term(self) -> None:
        """Drain."""
        self._stop(signal.SIGTERM)

    def handle_int(self) -> None:
        """Drain, as in a server without workers; gunicorn ends at once."""
        self._stop(signal.SIGINT)

    def handle_quit(self) -> None:
        """End at once."""
        self._end_now(128 + signal.SIGQUIT)

    def handle_hup(self) -> None:
        """Read the configuration again, and start workers with it. The old workers drain once all new ones listen."""
        notify("RELOADING=1", "STATUS=reloading")
        try:
            trial = self._reload()
        except GeventechoError as error:
            logger.error("the configuration was not reloaded, the old one stays in use: %s", error, extra=ANSWER)
            self._notify_ready()
            return
        for worker in self._workers_of(self._trial):
            self._retire(worker)
        self._trial = trial
        for _ in range(trial.workers):
            self._start_worker(trial)

    def handle_ttin(self) -> None:
        """Add a worker."""
        self.num_workers += 1
        self._output.write(f"workers: {self.num_workers}")

    def handle_ttou(self) -> None:
        """Remove a worker, but not the last one."""
        self.num_workers = max(1, self.num_workers - 1)
        self._output.write(f"workers: {self.num_workers}")

    def handle_usr1(self) -> None:
        """Write the current sums of the counters."""
        self._refresh_counters()
        self._print_counters()

    def _refresh_counters(self) -> None:
        """Have the workers update their counters, without a wait for workers whose heartbeat is late."""
        asked_ns = time.monotonic_ns()
        self.kill_workers(signal.SIGUSR1)
        end = time.monotonic() + BEAT_SECONDS
        while time.monotonic() < end and any(
            asked_ns - LATE_BEATS_NS < slot["beat_ns"] < asked_ns for slot in self.shared.live()
        ):
            time.sleep(0.001)

    def handle_usr2(self) -> None:
        """Refuse: gunicorn's upgrade of the program does not keep our listeners."""
        logger.warning(
            "SIGUSR2 is not supported: new code needs a restart; with a socket of systemd no connect fails meanwhile"
        )

    def stop(self, graceful: bool = True) -> NoReturn:  # noqa: ARG002
        """End at once: gunicorn calls this after a failure of its own."""
        self._end_now(1)

    # A reload ---------------------------------------------------------------------------------------------------------

    def _check_trial(self) -> None:
        """Retire the old workers of a reload once all new ones listen."""
        trial = self._trial
        if trial is None:
            return
        workers = self._workers_of(trial)
        if len(workers) < trial.workers or any(worker.aborted_at for worker in workers):
            self._give_up_trial()
        elif all(worker.listens for worker in workers):
            for worker in self._workers_of(self._plan):
                self._retire(worker)
            self._plan, self._trial, self.num_workers = trial, None, trial.workers
            self._notify_ready()
            self._output.write(f"reloaded: {trial.workers} new workers listen, the old workers drain")

    def _give_up_trial(self) -> None:
        for worker in self._workers_of(self._trial):
            self._retire(worker)
        self._trial = None
        self._notify_ready()
        logger.error("the reload failed: the new workers could not start, the old workers stay", extra=ANSWER)
