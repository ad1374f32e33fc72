"""The state of a running test: in a terminal a display of some lines, redrawn each second; otherwise log lines.

Locust logs to standard error, so the display is on standard error if that is a terminal. Standard output is not used.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import gevent
from gevent import Greenlet
from locust.env import Environment
from locust.runners import Runner

from geventecho.loadtest.run.terminal import Terminal
from geventecho.loadtest.settings import is_unattended, options_of
from geventecho.results import Users, display, plain_line

__all__ = ["StatusDisplay"]

logger = logging.getLogger("geventecho.loadtest")

REDRAW: Final = 1.0
"""Seconds between two drawings."""
LOG_EVERY: Final = 5.0
"""Seconds between two lines of the log."""
STARTING: Final = {"state": "starting"}


class StatusDisplay:
    """Shows the state of a test that runs without a web UI or with --print-stats.

    The log lines have level INFO: a higher log level or --only-summary turns the display off.

    Args:
        environment: Locust's environment.
        runner: the runner of the environment; not the runner of a worker.
        live: a function that returns the result up to now as JSON, or None before the first test.
    """

    def __init__(self, environment: Environment, runner: Runner, live: Callable[[], Mapping[str, Any] | None]) -> None:
        options = options_of(environment)
        wanted = is_unattended(options) or options.get("print_stats")
        if not wanted or options.get("only_summary") or not logger.isEnabledFor(logging.INFO):
            return
        self._runner = runner
        self._read = live
        self._live: Mapping[str, Any] = STARTING
        self._terminal = Terminal.of_log()
        self._ticker: Greenlet | None = None
        environment.events.test_start.add_listener(self.on_test_start)
        environment.events.test_stop.add_listener(self.on_test_stop)
        if self._terminal is not None:
            self._watch_signals(self._terminal)

    def on_test_start(self, **_: Any) -> None:
        """Start the display of a new test."""
        self.on_test_stop()
        self._live = STARTING
        self._ticker = gevent.spawn(self._run)

    def on_test_stop(self, **_: Any) -> None:
        """Remove the display: the test has ended, and its last figures follow in the log."""
        ticker, self._ticker = self._ticker, None
        if ticker is not None:
            ticker.kill()
        if self._terminal is not None:
            self._terminal.clear()

    def _run(self) -> None:
        due = time.monotonic() + LOG_EVERY
        while True:
            self._live = self._read() or STARTING
            if self._live.get("state") == "stopped":  # the test has just ended, and its result is printed next
                return
            if self._is_drawn():
                self._draw()
            elif time.monotonic() >= due:
                due += LOG_EVERY
                logger.info("%s", plain_line(self._live, self._users()))
            gevent.sleep(REDRAW)

    def _users(self) -> Users:
        return Users(self._runner.user_count, self._runner.target_user_count)

    def _is_drawn(self) -> bool:
        return self._terminal is not None and self._terminal.size is not None

    def _draw(self) -> None:
        if self._terminal is None or self._ticker is None:
            return
        self._terminal.draw(lambda width, height: display(self._live, self._users(), width, height))

    def _watch_signals(self, terminal: Terminal) -> None:
        """Clear the display when a signal ends or stops this process, and draw it again when the terminal is resized.

        After that the signal has its default effect. If Locust handles a signal itself, it replaces this handler.
        """

        def leave(number: int, _: object) -> None:
            terminal.clear()
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)  # with SIGTSTP it returns when the shell continues us
            signal.signal(number, leave)
            self._draw()

        for number in (signal.SIGTSTP, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, leave)
        resized = signal.getsignal(signal.SIGWINCH)  # Locust's handler: its tables are as wide as the terminal

        def resize(number: int, frame: Any) -> None:
            if callable(resized):
                resized(number, frame)
            self._draw()

        signal.signal(signal.SIGWINCH, resize)
        owner = os.getpid()
        atexit.register(lambda: terminal.clear() if os.getpid() == owner else None)
