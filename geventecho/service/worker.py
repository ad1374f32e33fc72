"""One process: a server, the signals that stop it, its exit code."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Final

import gevent

from geventecho.server import ServerState, TcpServer
from geventecho.service.lines import LineWriter
from geventecho.service.logs import LogHandler
from geventecho.service.systemd import notify

__all__ = ["EXIT_LOST", "serve"]

EXIT_LOST: Final = 3
"""The exit code when bytes owed to clients were lost."""
HANGUP_GRACE: Final = 0.5
"""Seconds after a SIGHUP in which SIGTERM is not a second signal: systemd sends both (SendSIGHUP=)."""


def serve(
    server: TcpServer,
    output: LineWriter,
    log: LogHandler,
    *,
    on_bound: Callable[[TcpServer], object] = lambda _: None,
    reload: Callable[[], object] | None = None,
) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, then drain. A second signal ends the process with 128 + its number.

    SIGUSR1 prints the counters. Before the server listens, SIGUSR1 and SIGHUP do nothing, and the other signals end the
    process. A further SIGHUP does nothing: a terminal that closes sends several. SIGHUP stays ignored under nohup(1).
    With `reload`, SIGHUP calls it and does not drain, also under nohup. After the return the process should end: its
    signals stay as they are. sd_notify(3) tells a supervisor when the service is ready, reloads and stops.

    Args:
        server: a server that is not started.
        output: takes the line with the counters, and the last line, the report of the stop.
        log: is closed with `output` when a second signal ends the process; its dropped lines are a counter.
        on_bound: takes the server once connects succeed, before the first connection is accepted. An exception of it
            ends the service.
        reload: reloads files while the server runs.

    Returns:
        The exit code: 0, or 3 if bytes owed to clients were lost.

    Raises:
        ListenError: the server cannot listen.
        ConfigError: `on_bound` raised it.
    """
    signals = _Signals(server, output, log, reload)
    signals.watch()
    try:
        server.start()
        try:
            on_bound(server)  # no connection is accepted before: the hub has not run since the bind
        except BaseException:
            server.close()
            raise
        notify("READY=1", f"STATUS=listening on {', '.join(map(str, server.addresses))}")
        report = server.serve_forever()
    finally:
        # The end of a watcher, or of Python, would restore the default action, which kills the process.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signals.print_counters()
    output.write(f"stopped: {report}")
    return EXIT_LOST if report.bytes_lost else 0


class _Signals:
    """The handlers of the signals. libev calls them in a greenlet within a millisecond.

    A Python signal handler would wait, up to 300 ms, until gevent's loop returns to the interpreter.
    """

    def __init__(
        self, server: TcpServer, output: LineWriter, log: LogHandler, reload: Callable[[], object] | None
    ) -> None:
        self._server = server
        self._output = output
        self._log = log
        self._reload = reload
        self._handles_hangup = reload is not None or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
        self._kills_after: float | None = None  # a further signal after this time ends the process

    def watch(self) -> None:
        """Install the handlers."""
        if self._handles_hangup:
            gevent.signal_handler(signal.SIGHUP, self._on_hangup)
        for number in (signal.SIGTERM, signal.SIGINT):
            gevent.signal_handler(number, self._stop, number)
        gevent.signal_handler(signal.SIGUSR1, self._on_usr1)

    def print_counters(self) -> None:
        """Write the line of the counters."""
        dropped = {"log_dropped": self._log.dropped, "output_dropped": self._output.dropped}
        counts = self._server.counters | dropped
        shown = " ".join(f"{name}={count}" for name, count in counts.items() if count)
        self._output.write(f"counters: {shown or 'none'}")

    def _has_listened(self) -> bool:
        return self._server.state is not ServerState.NEW

    def _on_usr1(self) -> None:
        if self._has_listened():
            self.print_counters()

    def _on_hangup(self) -> None:
        if not self._has_listened() or self._kills_after is not None:
            return
        if self._reload is None:
            self._stop(signal.SIGHUP)
        else:
            notify("RELOADING=1")
            self._reload()
            notify("READY=1")

    def _stop(self, number: int) -> None:
        now = time.monotonic()
        is_again = self._kills_after is not None and now >= self._kills_after
        if is_again:
            self.print_counters()
            self._output.write(f"stopped: {self._server.report_now()}")
        if is_again or not self._has_listened():
            self._output.stop()
            self._log.close()
            os._exit(128 + number)
        self._kills_after = now + HANGUP_GRACE if number == signal.SIGHUP else now
        notify("STOPPING=1", f"STATUS=draining, open connections: {self._server.connection_count}")
        self._server.stop()
