"""A worker: one of the processes that serve the same listeners.

Its exit code is always 0, because gunicorn's arbiter acts on some codes. Its slot shows how it ended.
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
"""Signals that are blocked during a fork: until the worker has its own handlers, the arbiter's would take them."""
LOG_STACKS: Final = signal.SIGUSR2
"""At this signal a stuck worker logs its stacks and ends. faulthandler does not accept SIGABRT."""
IGNORED: Final = HANDLED - {signal.SIGTERM, signal.SIGUSR1, LOG_STACKS, signal.SIGCHLD}
"""The terminal sends Ctrl-C and a hangup to all processes; the arbiter alone acts on them."""
STUCK_SECONDS: Final = 3.0
"""A worker without a heartbeat for this long is stuck."""
START_SECONDS: Final = 10.0
"""Time limit from the start of a worker until it listens."""
AFTER_DRAIN: Final = 2.0
"""Seconds beyond the drain timeout in which a worker must end. In the first of them it sends the bytes it owes."""
LATE_BEATS_NS: Final = 1_000_000_000
"""A worker whose last heartbeat is older accepts no connections at the moment."""
MAX_STACKS: Final = 20
LONGEST_STACK: Final = 1500
MARGIN: Final = 1 / 16
"""A worker with more connections than another one, by this part and one more, lets that one accept first."""


class PreforkWorker(Worker):  # type: ignore[misc]
    """A process with a server of its own.

    Args:
        plan: its configuration.
        slot: the slot of this process.
        shared: the slots of all processes.
        service: its outputs; the log is closed at the end.
        descriptors: the arbiter's listeners. They are closed here once the server has descriptors of its own.
        arbiter: the pid of the arbiter.

    Attributes:
        stacks: a file in memory. faulthandler writes the stack there when the arbiter ends a stuck worker.
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
        # Worker.__init__ is not called: it makes a file for the heartbeat, which is in the slot here.
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
        """Return the reason why it counts as stuck, or "" when it does not."""
        silent = now - max(self.slot["beat_ns"] / 1e9, self.started_at)
        if self.slot["state"] == WorkerState.STARTING:
            return f"it does not listen after {silent:.0f} s" if silent > START_SECONDS else ""
        if silent > STUCK_SECONDS:
            return f"its event loop has not run for {silent:.1f} s"
        longest = self.plan.config.drain_timeout + AFTER_DRAIN
        if self.retired_at is not None and now - self.retired_at > longest:
            return f"its drain has not ended after {longest:.0f} s"
        return ""

    def clean_up(self) -> None:
        """Free its slot after its end. Log its stack if it was in a call into C and could not log it itself."""
        self.slot.free()
        with os.fdopen(self.stacks, "rb") as file:
            file.seek(0)
            if stack := file.read().decode(errors="replace").strip():
                logger.critical("worker %d was in a call that does not return:\n%s", self.pid, stack)

    # In the new process -----------------------------------------------------------------------------------------------

    def init_process(self) -> None:
        """Serve until the end of the drain after SIGTERM, and end the process."""
        try:
            self._serve()
        except GeventechoError as error:
            if not self._shared["stopping"]:  # else the listeners are closed already
                logger.error("a worker could not start: %s", error)
        except BaseException:
            logger.exception("a worker failed")
        finally:
            self._log.close()
            os._exit(0)  # not SystemExit: it would run the arbiter's clean-up, which is on this stack

    def _serve(self) -> None:
        die_with_parent(self.ppid)
        gevent.reinit()  # the arbiter made a hub when it opened the listeners
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
        if self.slot["state"] != WorkerState.DRAINING:  # else this is a second SIGTERM
            self.server.close()
            self.slot["state"] = WorkerState.DRAINING
            os.kill(self.ppid, signal.SIGCHLD)  # the arbiter wakes, and replaces a worker that it has not told to end
            if self._metrics is not None and not self._shared["stopping"]:
                self._metrics.stop_accepting()
            self.server.stop()

    def _log_stacks(self, _number: int, frame: FrameType | None) -> None:
        """Log the stacks of all greenlets and end. During a call into C this cannot run; see `stacks`."""
        # f-strings: the unformatted message is the kind, and the log passes one message of a kind each second.
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
        is_full = load >= self.server.max_connections  # it would refuse clients that another worker has room for
        return load > (lowest if is_full else lowest * (1 + MARGIN) + 1)


def _stack(frame: FrameType | None) -> str:
    """Return the innermost part of a stack, as long as a log line may be."""
    return "".join(traceback.format_stack(frame))[-LONGEST_STACK:]
