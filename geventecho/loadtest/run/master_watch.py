"""A worker stops its users if its master is gone: nobody would count their operations or end them.

Locust's worker sends a heartbeat every second, and the master answers it. Locust itself waits a minute for an answer. A
busy master sends no answer either, for example while a listener of the locustfile works. But its ZeroMQ I/O thread
still runs, and sends a greeting to each new connection.
"""

from __future__ import annotations

import logging
import socket
from typing import Final

import gevent
from locust.runners import WorkerRunner

from geventecho.loadtest.locust_internals import master_address

__all__ = ["MasterWatch"]

logger = logging.getLogger("geventecho.loadtest")

# Seconds without a heartbeat until the worker connects to the master for a greeting, and seconds for the greeting. The
# worker checks the heartbeats once a second. So it notices within 9 seconds that its master is gone.
HEARTBEAT_TIMEOUT: Final = 7
GREETING_TIMEOUT: Final = 1.0


class MasterWatch:
    """Ends the runner of a worker when the master is gone.

    Attributes:
        incomplete: a sentence that says that the master is gone; empty while it is there.
    """

    def __init__(self, runner: WorkerRunner) -> None:
        self.incomplete: list[str] = []
        self._runner = runner
        self._silent = 0
        runner.environment.events.heartbeat_received.add_listener(self.on_heartbeat)
        runner.greenlet.spawn(self._watch)

    def on_heartbeat(self, **_: object) -> None:
        """The master has answered a heartbeat."""
        self._silent = 0

    def _watch(self) -> None:
        # The seconds are counted, not read from a clock: while this process is stopped, heartbeats wait unread.
        while self._silent < HEARTBEAT_TIMEOUT or _greets(master_address(self._runner)):
            gevent.sleep(1)
            self._silent += 1
        self.incomplete = [f"the master is gone: no heartbeat for {self._silent} seconds"]
        logger.error("%s; the users are stopped", self.incomplete[0])
        self._runner.quit()


def _greets(address: tuple[str, int] | None) -> bool:
    """Whether a ZeroMQ socket at an address is alive. It sends the first 10 bytes unasked (ZMTP 3.1, greeting)."""
    if address is None:
        return False
    try:
        with gevent.Timeout(GREETING_TIMEOUT, TimeoutError), socket.create_connection(address) as probe:
            return bool(probe.recv(1))
    except OSError:
        return False
