"""What a server calls at the events that Node's `net.Server` emits."""

from __future__ import annotations

import dis
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import gevent
from gevent import spawn_raw

from geventecho.address import Address
from geventecho.server.connection import ConnectionInfo
from geventecho.server.counters import Refusal

if TYPE_CHECKING:
    from geventecho.server.tcp_server import StopReport, TcpServer
from geventecho.server.describe import describe

__all__ = ["ServerHooks", "is_interrupt"]

logger = logging.getLogger("geventecho.server")

RAISE: Final = dis.opmap["RAISE_VARARGS"]


@dataclass(frozen=True, slots=True)
class ServerHooks:
    """Callables, each None when nobody listens. All but `listening` run in a greenlet and may block.

    Attributes:
        listening: takes the server, once connects succeed; start() returns after it.
        connection: takes a ConnectionInfo, in the connection's greenlet before its handler.
        refuse: takes the peer's Address and the Refusal.
        close: takes the StopReport, once the last connection has ended. stop() waits for it within its own time.
        error: takes an OSError of accept(2), a ListenError of start(), or what a handler raised.
    """

    listening: Callable[[TcpServer], object] | None = None
    connection: Callable[[ConnectionInfo], object] | None = None
    refuse: Callable[[Address, Refusal], object] | None = None
    close: Callable[[StopReport], object] | None = None
    error: Callable[[BaseException], object] | None = None

    def call(self, name: str, *arguments: object) -> None:
        """Call a hook; what it raises is logged and goes no further."""
        hook: Callable[..., object] | None = getattr(self, name)
        if hook is None:
            return
        try:
            hook(*arguments)
        except gevent.GreenletExit:
            raise  # the connection was told to end while its hook ran
        except BaseException as error:  # SystemExit included: a hook's bug costs neither a connection nor the server
            if is_interrupt(error):
                raise
            logger.warning("the hook on_%s failed: %s", name, describe(error))

    def call_soon(self, name: str, *arguments: Any) -> None:
        """Call a hook from the hub, where nothing may block: in a greenlet of its own."""
        if getattr(self, name) is not None:
            spawn_raw(self.call, name, *arguments)


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C, which Python raises in whatever code happens to run, and which is meant for the process.

    A handler's own `raise KeyboardInterrupt` is not: its traceback ends at a raise, where the interpreter's ends at the
    instruction that was interrupted.
    """
    if not isinstance(error, KeyboardInterrupt) or error.__traceback__ is None:
        return False
    trace = error.__traceback__
    while trace.tb_next is not None:
        trace = trace.tb_next
    return trace.tb_frame.f_code.co_code[trace.tb_lasti] != RAISE
