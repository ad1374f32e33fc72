"""One process: a server, the signals that stop it, its exit code."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Final

import gevent

from geventecho.server import TcpServer

__all__ = ["EXIT_LOST", "serve"]

EXIT_LOST: Final = 3
"""The exit code when bytes that were owed could not be delivered."""


def serve(server: TcpServer, print_line: Callable[[str], None], log_dropped: Callable[[], int]) -> int:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once with 128 + its number.

    SIGUSR1 prints the counters.

    Args:
        server: not started yet.
        print_line: prints the line with the counters, and the last line, the report of the stop.
        log_dropped: how many log lines were dropped so far.

    Returns:
        The exit code: 0, or 3 when bytes owed were lost.

    Raises:
        ListenError: the server could not listen.
    """

    def print_counters() -> None:
        counts = server.counters | {"log_dropped": log_dropped()}
        shown = " ".join(f"{name}={count}" for name, count in counts.items() if count)
        print_line(f"counters: {shown or 'none'}")

    def on_signal(number: int) -> None:
        # libev calls this in a greenlet within a millisecond; a Python signal handler would run up to 300 ms later,
        # whenever gevent's loop next returns to the interpreter.
        if stopping:
            print_counters()
            print_line(f"stopped: {server.report_now()}")
            os._exit(128 + number)
        stopping.append(number)
        server.stop()

    stopping: list[int] = []
    watchers = [gevent.signal_handler(number, on_signal, number) for number in (signal.SIGTERM, signal.SIGINT)]
    watchers.append(gevent.signal_handler(signal.SIGUSR1, print_counters))
    try:
        report = server.serve_forever()
    finally:
        for watcher in watchers:
            watcher.cancel()
    print_counters()
    print_line(f"stopped: {report}")
    return EXIT_LOST if report.bytes_lost else 0
