"""A worker: one of the processes that serve the same listeners.

Its exit code is always 0, because gunicorn's arbiter takes some codes for orders. Its slot says how it ended.
"""

from __future__ import annotations

import faulthandler
import gc
import io
import logging
import os
import signal
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from types import FrameType
from typing import Final

import gevent
from greenlet import getcurrent, greenlet
from gunicorn.workers.base import Worker

from geventecho.address import Address
from geventecho.errors import GeventechoError
from geventecho.net import die_with_parent
from geventecho.server import Counters
from geventecho.service.heartbeat import Heartbeat
from geventecho.service.logs import report_hub_errors
from geventecho.service.service import Service
from geventecho.service.shared_counters import SharedCounters, Slot, WorkerState
from geventecho.service.workers import Plan

__all__ = ["HANDLED", "LATE_BEATS_NS", "LOG_STACKS", "PreforkWorker"]

logger = logging.getLogger("geventecho.workers")

HANDLED: Final = frozenset(
    {signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2}
    | {signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH, signal.SIGCHLD}
)
"""Signals that are blocked over a fork. Until the worker has its own actions, one of the arbiter's would take them."""
LOG_STACKS: Final = signal.SIGUSR2
"""At this signal a stuck worker logs its stacks, and ends. faulthandler does not take SIGABRT."""
IGNORED: Final = HANDLED - {signal.SIGTERM, signal.SIGUSR1, LOG_STACKS, signal.SIGCHLD}
"""The terminal sends Ctrl-C and a hangup to all processes; the arbiter alone acts on them."""
STUCK_SECONDS: Final = 3.0
"""Without a heartbeat for so long, a worker is stuck."""
START_SECONDS: Final = 10.0
"""How long a worker may take to listen."""
AFTER_DRAIN: Final = 2.0
"""Seconds beyond the drain timeout in which a worker has to end by itself; its last second is for owed bytes."""
LATE_BEATS_NS: Final = 1_000_000_000
"""A worker whose last heartbeat is older takes no connections at the moment."""
MAX_STACKS: Final = 20
LONGEST_STACK: Final = 1500
MARGIN: Final = 1 / 16
"""The part by which a worker may have more connections than another one, which is then let first."""


class PreforkWorker(Worker):  # type: ignore[misc]
    """A process with a server of its own.

    Args:
        plan: what it is to do.
        slot: of this process.
        shared: the slots of all.
        service: its outputs; the log is closed at the end.
        descriptors: are the arbiter's alone, and closed here once the server has its own of the same listeners.
        arbiter: its pid.

    Attributes:
        stacks: a file in memory. faulthandler writes the stack there if the arbiter ends a stuck worker.
        retired_at: when the arbiter told it to drain; None before.
        aborted_at: when the arbiter found it stuck; None before.
    """

    def __init__(
        self,
        plan: Plan,
        slot: Slot,
        shared: SharedCounters,
        service: Service,
        descriptors: Sequence[int],
        arbiter: int,
    ) -> None:
        # Not gunicorn's own: it makes a file that a worker touches as its heartbeat. The slot has that.
        self.plan = plan
        self.slot = slot
        self.ppid = arbiter
        self.pid = 0
        self.tmp = io.BytesIO()  # gunicorn closes it
        self.stacks = os.memfd_create("stacks", os.MFD_CLOEXEC)
        self.started_at = time.monotonic()
        self.retired_at: float | None = None
        self.aborted_at: float | None = None
        self._shared = shared
        self._service = service
        self._log, self._metrics = service.log, service.metrics
        self._descriptors = descriptors

    @property
    def listens(self) -> bool:
        """Whether it accepts connections."""
        return self.slot["state"] == WorkerState.LISTENING

    def fault(self, now: float) -> str:
        """Why it counts as stuck; empty when it does not."""
        silent = now - max(self.slot["beat_ns"] / 1e9, self.started_at)
        if self.slot["state"] == WorkerState.STARTING:
            return f"it does not listen after {silent:.0f} s" if silent > START_SECONDS else ""
        if silent > STUCK_SECONDS:
            return f"its event loop has not run for {silent:.1f} s"
        longest = self.plan.config.drain_timeout + AFTER_DRAIN
        if self.retired_at is not None and now - self.retired_at > longest:
            return f"its drain has not ended after {longest:.0f} s"
        return ""

    def settle(self) -> None:
        """Give its slot back after its end. Log its stack if it was in a call into C, and could not do so itself."""
        self.slot.free()
        with os.fdopen(self.stacks, "rb") as file:
            file.seek(0)
            if stack := file.read().decode(errors="replace").strip():
                logger.critical("worker %d was in a call that does not return:\n%s", self.pid, stack)

    # In the new process -----------------------------------------------------------------------------------------------

    def init_process(self) -> None:
        """Serve until SIGTERM and the end of the drain, and end the process."""
        try:
            self._serve()
        except GeventechoError as error:
            if not self._shared["stopping"]:  # else the listeners are closed already
                logger.error("a worker could not start: %s", error)
        except BaseException:
            logger.exception("a worker failed")
        finally:
            self._log.close()
            os._exit(0)  # not SystemExit: the stack is the arbiter's, whose clean-up is not this process's

    def _serve(self) -> None:
        die_with_parent(self.ppid)
        gevent.reinit()  # the arbiter opened the listeners with gevent's hub
        report_hub_errors()
        listeners = [Address("fd", fd=descriptor) for descriptor in self._descriptors]
        self.server = self.plan.make(listeners, Counters(self.slot.block, tcp_info=self._metrics is not None))
        self.server.accept_later = self._has_more_than_others
        self._heartbeat = Heartbeat(self.server, self.slot, self._log, self._service.output)
        self._take_signals()
        self.server.start()
        for descriptor in self._descriptors:
            os.close(descriptor)
        self.slot["max_connections"] = self.server.max_connections
        self._heartbeat.start()
        self.slot["state"] = WorkerState.LISTENING
        if self._metrics is not None:
            self._metrics.serve(self._shared, self._heartbeat.beat)
        self.server.serve_forever()
        self._heartbeat.beat()
        if self._metrics is not None:
            self._metrics.stop()

    def _take_signals(self) -> None:
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(LOG_STACKS, self._log_stacks)
        faulthandler.register(LOG_STACKS, file=self.stacks, all_threads=False, chain=True)
        gevent.signal_handler(signal.SIGTERM, self._drain)
        gevent.signal_handler(signal.SIGUSR1, self._heartbeat.beat)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)

    def _drain(self) -> None:
        if self.slot["state"] != WorkerState.DRAINING:  # else it is not the first SIGTERM
            self.server.close()
            self.slot["state"] = WorkerState.DRAINING
            os.kill(self.ppid, signal.SIGCHLD)  # wakes the arbiter, which starts another one if it did not ask for this
            if self._metrics is not None and not self._shared["stopping"]:
                self._metrics.stop_accepting()
            self.server.stop()

    def _log_stacks(self, _number: int, frame: FrameType | None) -> None:
        """Runs between two steps of the code that holds the hub. In a call into C it never runs; see `stacks`."""
        # Each is a message of its own, not a kind of message: of a kind, the log takes one a second.
        logger.critical(f"worker {self.pid} is stuck in:\n{_stack(frame)}")
        stacks = Counter(
            _stack(each.gr_frame)
            for each in gc.get_objects()
            if isinstance(each, greenlet) and each and each is not getcurrent()
        )
        for stack, count in stacks.most_common(MAX_STACKS):
            logger.critical(f"worker {self.pid}: greenlets that wait here: {count}\n{stack}")
        os.ftruncate(self.stacks, 0)
        self._log.close()
        os._exit(0)

    def _has_more_than_others(self, load: int) -> bool:
        self.slot["load"] = load
        alive_ns = time.monotonic_ns() - LATE_BEATS_NS
        others = [
            slot["load"]
            for slot in self._shared.live()
            if slot["state"] == WorkerState.LISTENING and slot is not self.slot and slot["beat_ns"] > alive_ns
        ]
        lowest = min(others, default=load)
        is_full = load >= self.server.max_connections  # it would refuse the peers that another one has room for
        return load > (lowest if is_full else lowest * (1 + MARGIN) + 1)


def _stack(frame: FrameType | None) -> str:
    """The inner end of a stack, as much as a log line takes."""
    return "".join(traceback.format_stack(frame))[-LONGEST_STACK:]
