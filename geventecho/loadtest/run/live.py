"""The live figures of the running test. A separate process makes them, see geventecho/results/live.py.

This module must not block the hub. So messages to the process wait in a queue, and a greenlet writes them when the pipe
has room. If the process dies or falls behind, only the live figures are lost.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO, Concatenate, Final, ParamSpec, TypeVar

import gevent
from gevent.event import Event
from gevent.lock import Semaphore
from gevent.subprocess import PIPE, Popen
from locust.env import Environment

from geventecho.loadtest.measure import seconds_now
from geventecho.loadtest.run.attached import attach, attached
from geventecho.loadtest.settings import options_of
from geventecho.net import die_with_parent
from geventecho.results import SCHEMA, Collection, Encoded, Facts, Result, download, download_now

__all__ = ["Live", "LiveProcess", "live_file", "live_json", "live_of"]

logger = logging.getLogger("geventecho.loadtest")

MAX_AGE: Final = 1.0
"""Seconds for which an answer is used."""
PAUSE_FACTOR: Final = 2.0
"""The pause after an answer is this many times as long as the answer took. So the process uses at most a third of a
core."""
LONGEST_PAUSE: Final = 10.0
"""The longest pause in seconds. An answer may have taken long only because the process was stopped."""
LONGEST_ANSWER: Final = 10.0
"""Seconds without an answer after which the last figures are no longer shown, and a download fails."""
ANSWER_TIMEOUT: Final = 2.0
"""Seconds to wait for a new answer; after that the last answer is returned."""
MAX_WAITING: Final = 1 << 26
"""The most bytes that may wait for the process."""
READY: Final[Mapping[str, Any]] = {"state": "ready", "elapsed_s": None, "left_s": None}
"""The keys of a live result before the first test, besides `schema`."""

P = ParamSpec("P")
T = TypeVar("T")


class LiveProcess:
    """The separate process. It ends with this process, and Ctrl-C does not reach it.

    Args:
        begun, warm_up: the arguments of its `Collection`.
    """

    def __init__(self, begun: float, warm_up: float) -> None:
        self._queue: deque[bytes] = deque([pickle.dumps((begun, warm_up))])
        self._waiting = 0
        self._wake = Event()
        self._started = Event()
        self._asking = Semaphore()
        self._reading = Semaphore()
        self._process: Any = None
        self.is_alive = True
        self._writer = gevent.spawn(self._run)

    def call(self, change: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Make the process call a method of its `Collection`."""
        if not self.is_alive:
            return
        message = pickle.dumps((change, args, kwargs))
        self._queue.append(message)
        self._waiting += len(message)
        self._wake.set()
        if self._waiting > MAX_WAITING:
            self._fail("the process that makes them has fallen behind")

    def ask(self, now: float, facts: Facts) -> Encoded | None:
        """Ask for the result up to now, and wait for it; None if the process has ended."""
        return self._answer(Encoded.read, Collection.result, now, facts)

    def download(self, name: str, now: float, facts: Facts) -> bytes | None:
        """Ask for a file of `DOWNLOADS`, and wait for it; None if the process has ended."""
        return self._answer(_read_bytes, download_now, name, now, facts)

    def _answer(self, read: Callable[[BinaryIO], T], question: Callable[..., Any], *args: Any) -> T | None:
        with self._asking:  # the answers have the order of the questions
            self.call(question, *args)
            self._started.wait()
            with self._reading:
                try:
                    if self.is_alive:
                        return read(self._process.stdout)
                except (EOFError, OSError):
                    pass
        self._fail("the process that makes them has ended")
        return None

    def end(self) -> None:
        """End the process, and wait for its end."""
        self.is_alive = False
        if gevent.getcurrent() is not self._writer:
            self._started.wait()
            self._writer.kill()
        self._queue.clear()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            with self._reading, suppress(OSError):  # the buffer may still have unwritten bytes
                process.stdout.close()
                process.stdin.close()

    def _run(self) -> None:
        """Start the process, and write the queue to it."""
        try:
            # -P: a file in the working directory, such as statistics.py, must not take the place of a module.
            self._process = Popen(
                [sys.executable, "-P", "-m", "geventecho.results.live"],
                stdin=PIPE,
                stdout=PIPE,
                start_new_session=True,
                preexec_fn=partial(die_with_parent, os.getpid()),
            )
            self._started.set()
            while True:
                while self._queue:
                    message = self._queue.popleft()
                    self._process.stdin.write(message)
                    self._process.stdin.flush()
                    self._waiting -= len(message)
                self._wake.clear()
                self._wake.wait()
        except OSError as error:
            self._started.set()
            self._fail(f"the process that makes them has ended ({error.strerror})")

    def _fail(self, why: str) -> None:
        if self.is_alive:
            logger.warning("there are no more live figures: %s; the final result does not need them", why)
            self.end()


class Live:
    """The figures of the running test or of the last test.

    Args:
        environment: Locust's environment.
        facts: a function that returns the current facts.
        incomplete: a function that returns a sentence for each worker whose numbers are incomplete.
    """

    def __init__(
        self, environment: Environment, facts: Callable[[], Facts], incomplete: Callable[[], Sequence[str]]
    ) -> None:
        self._environment = environment
        self._facts = facts
        self._incomplete = incomplete
        self._reported: Sequence[str] = ()  # the reasons that the verdict already has
        self._process: LiveProcess | None = None
        self._collection: Collection | None = None
        self._final: Result | None = None
        self._encoded: Encoded | None = None
        self._brief: Mapping[str, Any] | None = None
        self._next = 0.0
        self._asked_at: float | None = None  # the time of a question without an answer
        self._is_late = False
        attach(environment, self)

    def begin(self, begun: float, warm_up: float) -> Collection:
        """Begin a test. Return its collection; only `change` may change it."""
        self._stop()
        self._final = self._encoded = self._brief = None
        self._next, self._asked_at, self._is_late = 0.0, None, False
        self._process = LiveProcess(begun, warm_up)
        self._collection = Collection(begun, warm_up)
        return self._collection

    def change(self, change: Callable[Concatenate[Collection, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Change the collection, here and in the process. Does nothing before the first test.

        Args:
            change: a method of `Collection`.
            args, kwargs: the arguments of the method. They can be pickled.
        """
        if self._collection is not None:
            change(self._collection, *args, **kwargs)
            if self._process is not None:
                self._process.call(change, *args, **kwargs)

    def end(self, result: Result) -> None:
        """End the test with its result."""
        self._final, self._encoded, self._brief = result, None, None
        self._stop()

    def json(self, row: str | None) -> bytes:
        """See `live_json`."""
        self._refresh()
        extra = self._extra()
        return self._encoded.join(extra, row) if self._encoded else json.dumps({"schema": SCHEMA, **extra}).encode()

    def brief(self) -> Mapping[str, Any] | None:
        """See `live_of`."""
        self._refresh()
        if self._collection is None:
            return None
        if self._encoded and self._brief is None:
            self._brief = self._encoded.short()
        return {"schema": SCHEMA, **self._extra(), **(self._brief or {})}

    def file(self, name: str) -> bytes | None:
        """See `live_file`."""
        process, found = self._process, None
        if process is not None:
            try:
                # The greenlet must read a late answer too: the next answer follows it in the pipe.
                found = gevent.spawn(process.download, name, seconds_now(), self._facts()).get(timeout=LONGEST_ANSWER)
            except gevent.Timeout:
                raise TimeoutError(
                    f"The process that makes the figures of the running test has not answered for {LONGEST_ANSWER:g} "
                    "seconds: try again, or wait for the end of the test."
                ) from None
        if found is None and self._final is not None:  # the test may have ended in the meantime
            found = download(self._final, name)
        elif found is None and process is not None:
            raise EOFError(
                "The process that makes the figures of the running test has ended: wait for the end of the test."
            )
        return found

    def _refresh(self) -> None:
        """Get an answer that is at most a second old, or the final result."""
        if self._final is not None:
            self._encoded = self._encoded or Encoded.of(self._final)
        elif self._process is not None:
            is_due = time.monotonic() >= self._next or not self._process.is_alive
            if is_due and self._asked_at is None and self._collection and self._collection.has_figures(seconds_now()):
                self._asked_at = time.monotonic()
                gevent.spawn(self._ask, self._process, self._asked_at).join(ANSWER_TIMEOUT)
            if self._asked_at is not None and time.monotonic() >= self._asked_at + LONGEST_ANSWER:
                self._withhold()
        self._report_losses()

    def _withhold(self) -> None:
        """Stop showing the last figures, because they are old."""
        self._encoded = self._brief = None
        if not self._is_late:
            self._is_late = True
            logger.warning(
                "there are no live figures for now: the process that makes them has not answered for %g s; "
                "the final result does not need them",
                LONGEST_ANSWER,
            )

    def _report_losses(self) -> None:
        """Name a lost worker in the verdict at once. The next result may take some seconds."""
        if self._encoded and self._final is None:
            incomplete = self._incomplete()
            if new := [reason for reason in incomplete if reason not in self._reported]:
                self._encoded, self._brief, self._reported = self._encoded.incomplete(new), None, incomplete

    def _ask(self, process: LiveProcess, asked: float) -> None:
        reported = self._incomplete()
        try:
            encoded = process.ask(seconds_now(), self._facts())
        finally:
            if process is self._process:
                self._asked_at = None
        if process is self._process:  # the test has not ended in the meantime
            self._encoded, self._brief, self._reported = encoded, None, reported
            now = time.monotonic()
            self._next = max(asked + MAX_AGE, now + min(PAUSE_FACTOR * (now - asked), LONGEST_PAUSE))
            self._is_late = False

    def _extra(self) -> Mapping[str, Any]:
        if self._collection is None:
            return READY
        timeline = self._collection.timeline
        elapsed = (seconds_now() if timeline.ended is None else timeline.ended) - timeline.begun
        if self._final is not None:
            state = "stopped"
        elif timeline.ended is not None:
            state = "stopping"
        else:
            is_lost = self._is_late or (self._process is not None and not self._process.is_alive)
            state = "running" if self._encoded or is_lost else "starting"
        run_time = options_of(self._environment).get("run_time")
        left = run_time - elapsed if isinstance(run_time, int | float) and timeline.ended is None else None
        return {
            "state": state,
            "elapsed_s": round(elapsed, 1),
            "left_s": None if left is None else round(max(0.0, left), 1),
        }

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.end()


def live_json(environment: Environment, row: str | None = None) -> bytes:
    """The result of the running test up to a second ago, or of the last test, as JSON.

    The JSON has the keys of `Result` and four more: `state` ("ready" before the first test, "starting", "running",
    "stopping" or "stopped"), `elapsed_s`, `left_s` (None without a run time) and `now`, the last point of each column
    of the run's series. Without a result the JSON has only `schema`, `state`, `elapsed_s` and `left_s`. This is so
    before the first result of a test, and, with the state "running", while the process that makes the results does not
    answer or after it has died.

    Args:
        environment: Locust's environment, after `install`.
        row: the only row of the series to return, as "TYPE name"; all rows by default.
    """
    live = attached(environment, Live)
    return live.json(row) if live else json.dumps({"schema": SCHEMA, **READY}).encode()


def live_of(environment: Environment) -> Mapping[str, Any] | None:
    """The parsed JSON of `live_json` without warm-up, stages, distributions and series; None before the first test."""
    live = attached(environment, Live)
    return live.brief() if live else None


def live_file(environment: Environment, name: str) -> bytes | None:
    """A file of the running test up to now, or of the last test; None before the first test.

    Args:
        environment: Locust's environment, after `install`.
        name: a name of `DOWNLOADS`.

    Raises:
        TimeoutError: the process that makes the files of a running test does not answer.
        EOFError: this process has ended.
    """
    live = attached(environment, Live)
    return live.file(name) if live else None


def _read_bytes(source: BinaryIO) -> bytes:
    size = int(source.readline() or b"0")
    data = source.read(size)
    if not size or len(data) < size:
        raise EOFError
    return data
