"""Locust's worker processes: they end with the process that started them."""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING

from locust import User

from geventecho.loadtest.users import TcpUser
from geventecho.net import die_with_parent, outlive_parent

if TYPE_CHECKING:
    from locust.argument_parser import LocustArgumentParser

__all__ = ["Workers"]


class Workers:
    """The worker processes that `locust --processes` forks, if they have a `TcpUser` to run.

    Locust does not end them reliably: Ctrl-C reaches master and workers at once, and a worker goes on for up to a
    minute after its master is gone. Here the kernel ends a worker with its master. A worker of such a master ignores
    SIGINT, so that only the master controls the end. Each worker holds the write end of a pipe. When the master reads
    the end of the pipe, the last worker is gone.

    Call `watch_forks` while the command line is parsed, and `after_forks` when Locust is set up. Locust forks its
    workers between the two calls.
    """

    def __init__(self) -> None:
        self._parser: LocustArgumentParser | None = None
        self._parent = 0
        self._reader = -1
        self._writer = -1
        self._has_master = False

    def watch_forks(self, parser: LocustArgumentParser) -> None:
        """Prepare for forks. Only the first call counts: Locust also makes a parser for each page that it shows."""
        if self._parent:
            return
        self._parser = parser
        self._parent = os.getpid()
        self._reader, self._writer = os.pipe()
        os.register_at_fork(after_in_child=self._after_fork)

    def after_forks(self, has_tcp_users: bool) -> None:
        """Note that Locust is set up and forks no more workers.

        Args:
            has_tcp_users: whether a `TcpUser` is among the user classes of this run.
        """
        parser, self._parser = self._parser, None
        if parser is None:
            return
        if os.getpid() == self._parent:
            os.close(self._writer)
        elif self._has_master and has_tcp_users:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        elif not has_tcp_users:
            outlive_parent()

    def wait(self, seconds: float) -> None:
        """Wait until all workers have ended, and kill the workers that still run after `seconds`."""
        if os.getpid() != self._parent:
            return
        end = time.monotonic() + seconds
        alive: set[int] = set()
        while (left := end - time.monotonic()) > 0 and select.select([self._reader], [], [], left)[0]:
            number = os.read(self._reader, 4)
            if not number:
                return
            alive.add(int.from_bytes(number, "little"))
        for pid in alive:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def _after_fork(self) -> None:
        if self._parser is None or not _has_subclass(TcpUser):
            return
        options, _ = self._parser.parse_known_args()
        # With `--worker --processes N` the parent only waits. The master is another process, and gets our last report.
        self._has_master = not options.worker
        die_with_parent(self._parent, signal.SIGKILL if self._has_master else signal.SIGTERM)
        os.close(self._reader)
        os.write(self._writer, os.getpid().to_bytes(4, "little"))


def _has_subclass(user_class: type[User]) -> bool:
    return any(not found.abstract or _has_subclass(found) for found in user_class.__subclasses__())
