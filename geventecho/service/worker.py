"""One process: a server, the signals that stop it, its exit code."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Final

import gevent

from geventecho.server import ServerState, TcpServer
from geventecho.service.lines import LineWriter
from geventecho.service.logs import LogHandler

__all__ = ["EXIT_LOST", "serve"]

EXIT_LOST: Final = 3
"""The exit code when bytes that were owed could not be delivered."""
TOGETHER: Final = 0.5
"""Seconds in which SIGHUP and the next signal count as one: systemd sends SIGHUP with SIGTERM (SendSIGHUP=)."""


def serve(server: TcpServer, output: LineWriter, log: LogHandler, reload: Callable[[], object] | None = None) -> int:
    """Serve until SIGTERM, SIGINT or SIGHUP, then drain; a second signal ends the process with 128 + its number.

    SIGUSR1 prints the counters. Before the server listens, SIGUSR1 and SIGHUP do nothing, and the others end the
    process. A further SIGHUP does nothing: a terminal that closes sends several. SIGHUP stays ignored under nohup(1).
    With `reload`, SIGHUP calls it and ends nothing, also under nohup. The process is expected to end on return: its
    signals stay as they are here.

    Args:
        server: not started yet.
        output: takes the line with the counters, and the last line, the report of the stop.
        reload: reads anew from files something that can be replaced while the server runs.
        log: is closed with `output` when a second signal ends the process; its dropped lines are a counter.

    Returns:
        The exit code: 0, or 3 when bytes owed were lost.

    Raises:
        ListenError: the server could not listen.
    """

    def has_listened() -> bool:
        return server.state is not ServerState.NEW

    def print_counters() -> None:
        counts = server.counters | {"log_dropped": log.dropped, "output_dropped": output.dropped}
        shown = " ".join(f"{name}={count}" for name, count in counts.items() if count)
        output.write(f"counters: {shown or 'none'}")

    def on_usr1() -> None:
        if has_listened():
            print_counters()

    def on_signal(number: int) -> None:
        # libev calls this in a greenlet within a millisecond; a Python signal handler would run up to 300 ms later,
        # whenever gevent's loop next returns to the interpreter.
        now = time.monotonic()
        is_again = bool(stopping) and now >= stopping[-1]
        if is_again:
            print_counters()
            output.write(f"stopped: {server.report_now()}")
        if is_again or not has_listened():
            output.stop()
            log.close()
            os._exit(128 + number)
        stopping.append(now + TOGETHER if number == signal.SIGHUP else now)
        server.stop()

    def on_hangup() -> None:
        if has_listened() and not stopping:
            (reload or partial(on_signal, signal.SIGHUP))()

    stopping: list[float] = []  # from when on a further signal ends the process
    if reload is not None or signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        gevent.signal_handler(signal.SIGHUP, on_hangup)
    for number in (signal.SIGTERM, signal.SIGINT):
        gevent.signal_handler(number, on_signal, number)
    gevent.signal_handler(signal.SIGUSR1, on_usr1)
    try:
        report = server.serve_forever()
    finally:
        # A cancelled watcher, or Python's own end, would bring back the default action, which kills.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    print_counters()
    output.write(f"stopped: {report}")
    return EXIT_LOST if report.bytes_lost else 0
