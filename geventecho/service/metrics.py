"""The listener for `/metrics`, `/healthz` and `/readyz`. It is made before the workers are forked."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from gevent import socket

from geventecho.address import Address
from geventecho.errors import ConfigError, ListenError
from geventecho.server import Counters, ServerState, TcpServer, listen
from geventecho.service.heartbeat import Heartbeat
from geventecho.service.lines import LineWriter
from geventecho.service.logs import LogHandler
from geventecho.service.shared_counters import SharedCounters, Slot, WorkerState

if TYPE_CHECKING:
    from geventecho.service.metrics_http import MetricsServer

__all__ = ["Metrics", "OneProcess"]

logger = logging.getLogger("geventecho.metrics")

BACKLOG: Final = 128
STOP_SECONDS: Final = 0.1
"""Time limit of the scrapes that are being answered when a process ends."""


class Metrics:
    """A listening socket for scrapers. All processes of a service may serve on it at once.

    Args:
        target: where to listen.

    Attributes:
        address: the address that it listens on.

    Raises:
        ConfigError: prometheus-client is not installed, or the target is for TLS.
        ListenError: the target cannot be listened on.
    """

    def __init__(self, target: Address) -> None:
        if target.scheme == "tls":
            raise ConfigError(f"metrics are not served over TLS: {target}; write {replace(target, scheme='tcp')}")
        try:
            # Imported in the parent: the workers share its memory. A server without metrics does not need these 8 MiB.
            from geventecho.service.metrics_http import MetricsServer  # noqa: PLC0415
        except ModuleNotFoundError as error:
            if error.name != "prometheus_client":
                raise
            raise ConfigError("metrics need prometheus-client: pip install 'geventecho[workers]'") from None
        self._server_class: type[MetricsServer] = MetricsServer
        self._server: MetricsServer | None = None
        try:
            self._listener, self.address, self._file = listen(target, backlog=BACKLOG)
        except ListenError as error:
            raise ListenError(f"metrics: {error.reason}", address=target, phase="listen", errno=error.errno) from None

    def serve(self, shared: SharedCounters, refresh: Callable[[], object]) -> None:
        """Begin to answer in this process.

        Args:
            shared: the counters of all processes.
            refresh: updates the slot of this process.
        """
        # This process needs its own descriptor and watchers: the socket object has those of the parent.
        listener = socket.socket(fileno=os.dup(self._listener.fileno()))
        self._server = self._server_class(listener, shared, refresh)
        self._server.start()

    def stop_accepting(self) -> None:
        """Leave new scrapes to the other processes."""
        if self._server is not None:
            self._server.close()

    def stop(self) -> None:
        """Stop answering in this process."""
        if self._server is not None:
            self._server.stop(STOP_SECONDS)
            self._server = None

    def close(self) -> None:
        """Close the socket, in the process that made it."""
        self.stop()
        try:
            if self._file is not None:
                self._file.remove()  # before the listener closes: later another file may have its inode
        except OSError as error:
            logger.error("%s is no longer served, but its file stays: %s", self.address, error.strerror)
        self._listener.close()


class OneProcess:
    """The metrics of a service that has one process.

    Args:
        metrics: the listener for scrapers.

    Attributes:
        counters: the counters that the server counts in.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._shared = SharedCounters()
        self._shared["started_s"] = int(time.time())
        self._slot: Slot = self._shared.slots[0]
        self._slot["state"] = WorkerState.STARTING
        self.counters = Counters(self._slot.block, tcp_info=True)

    def serve(self, server: TcpServer, log: LogHandler, output: LineWriter) -> None:
        """Begin to answer.

        Args:
            server: the server that counts in `counters`.
            log: its dropped lines are counted.
            output: its dropped lines are counted.
        """
        self._server = server
        self._heartbeat = Heartbeat(server, self._slot, log, output)
        self._heartbeat.start()
        self._metrics.serve(self._shared, self._refresh)

    def _refresh(self) -> None:
        self._heartbeat.beat()
        self._slot["max_connections"] = self._server.max_connections
        if self._server.state is not ServerState.NEW:
            listening = self._server.state is ServerState.LISTENING
            self._slot["state"] = WorkerState.LISTENING if listening else WorkerState.DRAINING
