"""Hooks: functions that a server calls at the events of Node's `net.Server`."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import gevent
from gevent import spawn_raw

from geventecho.address import Address
from geventecho.server.connection import ConnectionInfo
from geventecho.server.counters import Refusal
from geventecho.server.describe import describe, locate

if TYPE_CHECKING:
    from geventecho.server.tcp_server import StopReport, TcpServer

__all__ = ["ServerHooks"]

logger = logging.getLogger("geventecho.server")


@dataclass(frozen=True, slots=True)
class ServerHooks:
    """Callables; None where there is no hook. All but `listening` run in a greenlet and may block.

    Attributes:
        listening: takes the server, once connects succeed; start() returns after it.
        connection: takes a ConnectionInfo, in the connection's greenlet before its handler.
        refuse: takes the peer's Address and the Refusal.
        close: takes the StopReport, once the last connection has ended. stop() waits for it within its own timeout.
        error: takes an OSError of accept(2), a ListenError of start(), or an exception of a handler.
    """

    listening: Callable[[TcpServer], object] | None = None
    connection: Callable[[ConnectionInfo], object] | None = None
    refuse: Callable[[Address, Refusal], object] | None = None
    close: Callable[[StopReport], object] | None = None
    error: Callable[[BaseException], object] | None = None

    def call(self, name: str, *arguments: object) -> None:
        """Call a hook. Its exceptions are logged and not raised."""
        hook: Callable[..., object] | None = getattr(self, name)
        if hook is None:
            return
        try:
            hook(*arguments)
        except (gevent.GreenletExit, KeyboardInterrupt):
            raise  # the connection was told to end while its hook ran; Ctrl-C is for the process
        except BaseException as error:  # SystemExit included: a hook's bug costs neither a connection nor the server
            logger.error("the hook on_%s failed at %s: %s", name, locate(error), describe(error))
            logger.debug("the hook on_%s failed", name, exc_info=error)

    def call_soon(self, name: str, *arguments: Any) -> None:
        """Call a hook from the hub, where nothing may block: in a greenlet of its own."""
        if getattr(self, name) is not None:
            spawn_raw(self.call, name, *arguments)
