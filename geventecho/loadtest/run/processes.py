"""Processes that end with the one that started them: Locust's workers and the echo server of the launcher."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from locust.argument_parser import LocustArgumentParser

__all__ = ["Workers", "die_with_parent"]

# prctl(2), linux/prctl.h. The C library is loaded here because between fork and exec nothing may be imported.
PR_SET_PDEATHSIG: Final = 1
LIBC: Final = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to end this process when its parent is gone, SIGKILL of the parent included.

    Args:
        parent: the pid of the parent; this process ends at once when it is gone already.
        by: the signal.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os._exit(1)


class Workers:
    """The worker processes that `locust --processes` forks.

    Locust's own end of them has gaps: Ctrl-C reaches master and workers alike, and a worker whose master is gone goes
    on for up to a minute. Here the kernel ends a worker with its master; a worker of a master ignores SIGINT, so that
    the master alone conducts the end; and each worker holds the write end of a pipe: when the master reads its end, the
    last worker is gone.

    `watch_forks` is called while the command line is parsed and `settle` when Locust is set up: what is forked in
    between are Locust's workers.
    """

    def __init__(self) -> None:
        self._parser: LocustArgumentParser | None = None
        self._parent = 0
        self._reader = -1
        self._writer = -1

    def watch_forks(self, parser: LocustArgumentParser) -> None:
        """Be ready for the forks to come. Locust makes a parser for each page it shows, too: the first one counts."""
        if self._parent:
            return
        self._parser = parser
        self._parent = os.getpid()
        self._reader, self._writer = os.pipe()
        os.register_at_fork(after_in_child=self._born)

    def settle(self) -> None:
        """No more workers will be forked by this process."""
        if self._parser is not None and os.getpid() == self._parent:
            os.close(self._writer)
        self._parser = None

    def wait(self, seconds: float) -> None:
        """Wait until every worker has ended; after `seconds` the rest is killed."""
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

    def _born(self) -> None:
        if self._parser is None:
            return
        options, _ = self._parser.parse_known_args()
        if options.worker:
            # `--worker --processes N`: this parent only waits; the master, elsewhere, is to get our last report.
            die_with_parent(self._parent, signal.SIGTERM)
        else:
            die_with_parent(self._parent)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        os.close(self._reader)
        os.write(self._writer, os.getpid().to_bytes(4, "little"))
