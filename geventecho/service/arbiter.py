"""Several processes that serve the same listeners, on gunicorn's arbiter.

gunicorn forks, queues signals and notices the end of a child. What a signal means, when a worker is stuck, and how a
reload and a stop go is decided here: gunicorn's own answers fit HTTP workers (its `reload` waits for the old workers,
its `stop` ignores a second SIGTERM, and an exit code of 3 or 4 halts everything). Nothing in this process runs gevent's
loop.
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
"""A round of the arbiter that takes longer was a pause of the machine, or Ctrl-Z."""
STACK_SECONDS: Final = 0.5
"""How long a stuck worker has to log its stacks before it is killed."""
ROUND_SECONDS: Final = 0.5
"""How often the arbiter looks at its workers when no signal comes."""
SOON_SECONDS: Final = 0.01
"""The same while workers start, or a stop goes on."""
CLOSE_SECONDS: Final = 0.03
"""How long the workers have to take peers out of the accept queue before it is shut down."""
BEFORE_START: Final = frozenset({signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
"""Signals that count before all workers listen. The others do nothing then: the first line is that of the address."""


class WorkerArbiter(Arbiter):  # type: ignore[misc]
    """Keeps the workers alive. See `geventecho.service.serve_with_workers`."""

    def __init__(
        self,
        endpoints: Endpoints,
        plan: Plan,
        service: Service,
        read_anew: Callable[[], Plan],
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
        self._next: PreforkWorker
        self._has_started = self._is_stopping = False
        self._crashes = CrashLoop()
        self._last_round = time.monotonic()
        self._patient_until = 0.0
        self._service = service
        self._output = service.output
        self._read_anew = read_anew

    # The rounds -------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Take the signals. gunicorn's own opens listeners, and tells systemd too early that they are served."""
        self.pid = os.getpid()
        self.init_signals()

    def wait_for_signals(self, timeout: float = ROUND_SECONDS) -> list[int]:
        """The next signal, if one came. gunicorn returns all; those behind a SIGTERM, which ends all, would be lost."""
        is_busy = self._is_stopping or self._trial or not self._has_started or self._crashes.delay() > 0
        try:
            number: int = self.SIG_QUEUE.get(timeout=SOON_SECONDS if is_busy else min(timeout, ROUND_SECONDS))
        except queue.Empty:
            return []
        return [number] if self._has_started or number in BEFORE_START else []

    def manage_workers(self) -> None:
        """Start or retire workers until their number is right. Each round of the arbiter ends with it."""
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
        """End workers that are stuck: first by the signal at which they log their stacks, then by SIGKILL."""
        now = time.monotonic()
        if now - self._last_round > PAUSE_SECONDS:
            # This process was stopped, and most likely its workers, too: they get the time for a heartbeat.
            self._patient_until = now + PAUSE_SECONDS
        self._last_round = now
        if now < self._patient_until:
            return
        for worker in list(self.WORKERS.values()):
            if worker.aborted_at is not None:
                if now - worker.aborted_at > STACK_SECONDS:
                    self.kill_worker(worker.pid, signal.SIGKILL)
            elif reason := worker.fault(now):
                logger.critical("worker %d is stuck, and is ended: %s", worker.pid, reason)
                worker.aborted_at = now
                self.kill_worker(worker.pid, LOG_STACKS)

    def reap_workers(self) -> None:
        """Take notice of the ends of children. As process 1 there are also orphans of other processes."""
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
            self._not_started(f"{len(self.WORKERS)} processes are the most that the first start made room for")
            return
        descriptors = [listener.fileno() for listener in self._listeners]
        worker = None
        # A signal that comes between the fork and the worker's own actions would be lost in the arbiter's.
        signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
        try:
            self._next = worker = PreforkWorker(plan, slot, self.shared, self._service, descriptors, arbiter=self.pid)
            self.spawn_worker()
        except OSError as error:
            worker.settle() if worker else slot.free()
            self._not_started(error.strerror or str(error))
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def _not_started(self, reason: str) -> None:
        logger.error("no worker is started: %s", reason)
        if not self._has_started:
            self._end_now(1)
        self._crashes.wait()

    def _make_worker(self, *_: object) -> PreforkWorker:
        """Called by gunicorn in place of a worker class, just before the fork."""
        return self._next

    def _check_start(self) -> None:
        workers = self._workers_of(self._plan)
        if self._has_started or len(workers) < self.num_workers or not all(worker.listens for worker in workers):
            return
        self._has_started = True
        self._notify_ready()
        self._service.on_listening(self._endpoints.addresses, len(workers), workers[0].slot["max_connections"])

    def _count(self) -> None:
        """Count the drops of the accept queues here: each worker would see all of them."""
        if drops := sum(drops.count(drops.ANY) for drops in self._drops):
            self._own["queue_drops"] += drops
            logger.warning("connects that found the accept queue full: %d", drops)
        self._own["log_dropped"], self._own["output_dropped"] = self._service.log.dropped, self._output.dropped

    def _notify_ready(self) -> None:
        notify("READY=1", f"STATUS={self.num_workers} workers listen")

    def _workers_of(self, plan: Plan | None) -> list[PreforkWorker]:
        """Those that were not told to end, the oldest first."""
        return [worker for worker in self.WORKERS.values() if worker.plan is plan and worker.retired_at is None]

    # Ends -------------------------------------------------------------------------------------------------------------

    def _retire(self, worker: PreforkWorker) -> None:
        worker.retired_at = time.monotonic()
        self.kill_worker(worker.pid, signal.SIGTERM)

    def _notice_drains(self) -> None:
        """Have workers replaced that somebody else has sent SIGTERM: they accept no connections any more."""
        for worker in self.WORKERS.values():
            if worker.retired_at is None and worker.slot["state"] == WorkerState.DRAINING:
                worker.retired_at = time.monotonic()
                self.shared["restarts"] += 1
                logger.warning("worker %d drains, and is replaced: SIGTERM came from another process", worker.pid)

    def _ended(self, worker: PreforkWorker, code: int) -> None:
        has_listened = worker.slot["state"] != WorkerState.STARTING
        worker.settle()
        how = f"it was ended by {signal.Signals(-code).name}" if code < 0 else "it ended by itself"
        if self._is_stopping or worker.retired_at is not None:
            if code < 0:
                logger.error("worker %d did not finish its drain: %s", worker.pid, how)
            return
        logger.error("worker %d is gone: %s", worker.pid, how)
        if not self._has_started:
            self._end_now(1)
        if worker.plan is self._trial:
            self._give_up_trial()
            return
        self.shared["restarts"] += 1
        is_served = has_listened or any(each.listens for each in self.WORKERS.values())
        from_outside = is_served and (code == -signal.SIGKILL or worker.aborted_at is not None)
        if from_outside and not has_listened:
            self._crashes.wait()
        if not from_outside and self._crashes.count(time.monotonic() - worker.started_at):
            logger.critical("the workers end again and again: no more are started")
            self._stop(exit_code=1)

    def _stop(self, number: int = 0, exit_code: int = 0) -> NoReturn:
        """Drain all workers, and end."""
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
                    self._bring_up_to_date()
                    self._end_now(128 + received, before)
                if received == signal.SIGUSR1:
                    self.handle_usr1()
            self.reap_workers()
            self.murder_workers()
        lost = self._report(before)
        raise SystemExit(exit_code or (EXIT_LOST if lost else 0))

    def _close_listeners(self) -> None:
        """Close this process's descriptors of the listeners once the workers have closed theirs.

        A stuck worker keeps its own; so the listeners are also shut down.
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
            worker.settle()
        self.WORKERS.clear()
        if before is not None:
            self._report(before)
        raise SystemExit(code)

    def _report(self, before: dict[str, int]) -> int:
        """Write the sums and the last line, once no worker is left; return how many bytes were lost since `before`."""
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
        """Read the configuration anew, and start workers with it. The old ones drain once all of these listen."""
        notify("RELOADING=1", "STATUS=reloading")
        try:
            trial = self._read_anew()
        except GeventechoError as error:
            logger.error("the configuration was not read anew, the one in use stays: %s", error, extra=ANSWER)
            self._notify_ready()
            return
        for worker in self._workers_of(self._trial):
            self._retire(worker)
        self._trial = trial
        for _ in range(trial.workers):
            self._start_worker(trial)

    def handle_ttin(self) -> None:
        """One worker more."""
        self.num_workers += 1
        self._output.write(f"workers: {self.num_workers}")

    def handle_ttou(self) -> None:
        """One worker less, but one stays."""
        self.num_workers = max(1, self.num_workers - 1)
        self._output.write(f"workers: {self.num_workers}")

    def handle_usr1(self) -> None:
        """Write the sums of the counters, as they are now."""
        self._bring_up_to_date()
        self._print_counters()

    def _bring_up_to_date(self) -> None:
        """Have the workers count their bytes as they are now. Nobody waits for one that is late with its heartbeat."""
        asked_ns = time.monotonic_ns()
        self.kill_workers(signal.SIGUSR1)
        end = time.monotonic() + BEAT_SECONDS
        while time.monotonic() < end and any(
            asked_ns - LATE_BEATS_NS < slot["beat_ns"] < asked_ns for slot in self.shared.live()
        ):
            time.sleep(0.001)

    def handle_usr2(self) -> None:
        """Refuse: gunicorn's change of the program does not keep our listeners."""
        logger.warning(
            "SIGUSR2 is not supported: new code needs a restart; under systemd's socket no connect fails then"
        )

    def stop(self, graceful: bool = True) -> NoReturn:  # noqa: ARG002
        """Called by gunicorn after a failure of its own."""
        self._end_now(1)

    # A reload ---------------------------------------------------------------------------------------------------------

    def _check_trial(self) -> None:
        """Let the new workers of a reload take over, once all of them listen."""
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
            self._output.write(f"reloaded: {trial.workers} new workers listen, the old ones drain")

    def _give_up_trial(self) -> None:
        for worker in self._workers_of(self._trial):
            self._retire(worker)
        self._trial = None
        self._notify_ready()
        logger.error("the reload failed: the new workers could not start, the old ones stay", extra=ANSWER)
