"""The figures of the running test, from a process beside this one, see geventecho/results/live.py.

Nothing here may block the hub: messages for the process wait in a queue, and a greenlet writes them when the pipe has
room. If the process dies or falls behind, only these figures are lost.
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
REST: Final = 2.0
"""The process pauses this many times as long as its last answer took. So it uses a third of a core at most."""
LONGEST_REST: Final = 10.0
"""Seconds. An answer may have taken long because the process was stopped."""
LONGEST_ANSWER: Final = 10.0
"""Seconds without an answer, after which the last figures are shown no more and a download fails."""
PATIENCE: Final = 2.0
"""Seconds to wait for a new answer; after that the last one is returned."""
MAX_WAITING: Final = 1 << 26
"""Bytes that may wait for the process."""
READY: Final[Mapping[str, Any]] = {"state": "ready", "elapsed_s": None, "left_s": None}
"""The keys of a live result while there was no test, beside `schema`."""

P = ParamSpec("P")
T = TypeVar("T")


class LiveProcess:
    """The process. It ends with this one, and does not hear Ctrl-C.

    Args:
        begun, warm_up: of the `Collection`.
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
        """Have it call a method of its `Collection`."""
        if not self.is_alive:
            return
        message = pickle.dumps((change, args, kwargs))
        self._queue.append(message)
        self._waiting += len(message)
        self._wake.set()
        if self._waiting > MAX_WAITING:
            self._fail("their process has fallen behind")

    def ask(self, now: float, facts: Facts) -> Encoded | None:
        """Ask for the result up to now, and wait for it; None when the process is gone."""
        return self._answer(Encoded.read, Collection.result, now, facts)

    def download(self, name: str, now: float, facts: Facts) -> bytes | None:
        """Ask for a file of `DOWNLOADS`, and wait for it; None when the process is gone."""
        return self._answer(_read_bytes, download_now, name, now, facts)

    def _answer(self, read: Callable[[BinaryIO], T], question: Callable[..., Any], *args: Any) -> T | None:
        with self._asking:  # answers come in the order of the questions
            self.call(question, *args)
            self._started.wait()
            with self._reading:
                try:
                    if self.is_alive:
                        return read(self._process.stdout)
                except (EOFError, OSError):
                    pass
        self._fail("their process has ended")
        return None

    def end(self) -> None:
        """End it, and wait for that."""
        self.is_alive = False
        if gevent.getcurrent() is not self._writer:
            self._started.wait()
            self._writer.kill()
        self._queue.clear()
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            with self._reading, suppress(OSError):  # the buffer may have bytes that were not written
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
            self._fail(f"their process has ended ({error.strerror})")

    def _fail(self, why: str) -> None:
        if self.is_alive:
            logger.warning("there are no more live figures: %s; the result at the end does not need them", why)
            self.end()


class Live:
    """The figures of the test that runs, and of the last one.

    Args:
        environment: Locust's.
        facts: tells the facts as they are now.
        lacking: tells which workers' numbers are not complete, and why.
    """

    def __init__(
        self, environment: Environment, facts: Callable[[], Facts], lacking: Callable[[], Sequence[str]]
    ) -> None:
        self._environment = environment
        self._facts = facts
        self._lacking = lacking
        self._reported: Sequence[str] = ()  # the reasons that are in the verdict
        self._process: LiveProcess | None = None
        self._collection: Collection | None = None
        self._final: Result | None = None
        self._encoded: Encoded | None = None
        self._brief: Mapping[str, Any] | None = None
        self._next = 0.0
        self._asked: float | None = None  # when, while there is no answer
        self._is_late = False
        attach(environment, self)

    def begin(self, begun: float, warm_up: float) -> Collection:
        """A test begins. Return its collection, which `change` changes."""
        self._stop()
        self._final = self._encoded = self._brief = None
        self._next, self._asked, self._is_late = 0.0, None, False
        self._process = LiveProcess(begun, warm_up)
        self._collection = Collection(begun, warm_up)
        return self._collection

    def change(self, change: Callable[Concatenate[Collection, P], None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Change the collection, here and in the process; nothing where there was no test.

        Args:
            change: a method of `Collection`.
            args, kwargs: its arguments, which can be pickled.
        """
        if self._collection is not None:
            change(self._collection, *args, **kwargs)
            if self._process is not None:
                self._process.call(change, *args, **kwargs)

    def end(self, result: Result) -> None:
        """The test has ended with this result."""
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
                # The greenlet must read a late answer too: the next one follows it in the pipe.
                found = gevent.spawn(process.download, name, seconds_now(), self._facts()).get(timeout=LONGEST_ANSWER)
            except gevent.Timeout:
                raise TimeoutError(
                    f"The process that makes the figures of the running test has not answered for {LONGEST_ANSWER:g} "
                    "seconds: try again, or wait for the end of the test."
                ) from None
        if found is None and self._final is not None:  # the test may have ended meanwhile
            found = download(self._final, name)
        elif found is None and process is not None:
            raise EOFError(
                "The process that makes the figures of the running test has ended: wait for the end of the test."
            )
        return found

    def _refresh(self) -> None:
        """Have an answer of the last second, or the final one."""
        if self._final is not None:
            self._encoded = self._encoded or Encoded.of(self._final)
        elif self._process is not None:
            is_due = time.monotonic() >= self._next or not self._process.is_alive
            if is_due and self._asked is None and self._collection and self._collection.has_figures(seconds_now()):
                self._asked = time.monotonic()
                gevent.spawn(self._ask, self._process, self._asked).join(PATIENCE)
            if self._asked is not None and time.monotonic() >= self._asked + LONGEST_ANSWER:
                self._withhold()
        self._report_losses()

    def _withhold(self) -> None:
        """Stop showing the last figures: they are old."""
        self._encoded = self._brief = None
        if not self._is_late:
            self._is_late = True
            logger.warning(
                "there are no live figures for now: their process has not answered for %g s; "
                "the result at the end does not need them",
                LONGEST_ANSWER,
            )

    def _report_losses(self) -> None:
        """Name a worker that was lost in the verdict at once: the next result may take some seconds."""
        if self._encoded and self._final is None:
            lacking = self._lacking()
            if new := [reason for reason in lacking if reason not in self._reported]:
                self._encoded, self._brief, self._reported = self._encoded.incomplete(new), None, lacking

    def _ask(self, process: LiveProcess, asked: float) -> None:
        reported = self._lacking()
        try:
            encoded = process.ask(seconds_now(), self._facts())
        finally:
            if process is self._process:
                self._asked = None
        if process is self._process:  # the test has not ended meanwhile
            self._encoded, self._brief, self._reported = encoded, None, reported
            now = time.monotonic()
            self._next = max(asked + MAX_AGE, now + min(REST * (now - asked), LONGEST_REST))
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
    """The result of the test up to a second ago, or of the last test, as JSON.

    It has the keys of `Result`, and `state` ("ready": there was no test yet; "starting", "running", "stopping",
    "stopped"), `elapsed_s`, `left_s` (None without a run time) and `now`: the last point of each column of the run's
    series. While there is no result it has only `schema` and these without `now`: before the first one of a test, and,
    with the state "running", while the process that makes them does not answer or when it has died.

    Args:
        environment: Locust's, after `install`.
        row: the only row that the series shall have, as "TYPE name"; all of them by default.
    """
    live = attached(environment, Live)
    return live.json(row) if live else json.dumps({"schema": SCHEMA, **READY}).encode()


def live_of(environment: Environment) -> Mapping[str, Any] | None:
    """The same without warm-up, stages, distributions and series, parsed; None while there was no test."""
    live = attached(environment, Live)
    return live.brief() if live else None


def live_file(environment: Environment, name: str) -> bytes | None:
    """A file of the test up to now, or of the last test; None where there was no test.

    Args:
        environment: Locust's, after `install`.
        name: of `DOWNLOADS`.

    Raises:
        TimeoutError: the process that makes the files of a running test does not answer.
        EOFError: it has ended.
    """
    live = attached(environment, Live)
    return live.file(name) if live else None


def _read_bytes(source: BinaryIO) -> bytes:
    size = int(source.readline() or b"0")
    data = source.read(size)
    if not size or len(data) < size:
        raise EOFError
    return data
