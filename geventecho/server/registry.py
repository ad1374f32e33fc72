"""The open connections: each is served, in a greenlet of its own or first in the hub, ended, and counted.

For every handler, even a failed one, this file ends the stream, closes the socket and settles the counters.
"""

from __future__ import annotations

import contextlib
import errno
import logging
from collections.abc import Callable
from typing import Any

import gevent
from gevent import get_hub, socket
from greenlet import greenlet

from geventecho.address import Address, SockAddr
from geventecho.net import abort, linger_time, path_quality
from geventecho.server.admission import AddressLimits
from geventecho.server.closing import destroyed_by_close, finish
from geventecho.server.config import ServerConfig
from geventecho.server.connection import RECEIVE_SIZE, Clock, Connection, Ended, HandshakeFailed, Phase, Raised
from geventecho.server.counters import Counters, Ending, HeaderFailure, Refusal, Traffic
from geventecho.server.deadlines import Deadlines
from geventecho.server.describe import describe, locate
from geventecho.server.hooks import ServerHooks
from geventecho.server.proxied import HeaderFailed, read_header
from geventecho.server.rates import Meter
from geventecho.server.refusals import RefusalLog

__all__ = ["Registry"]

logger = logging.getLogger("geventecho.server")


class _Serving(greenlet):  # type: ignore[misc]
    """A connection's greenlet. After its end it ignores exceptions, such as a timeout that its handler left running."""

    __slots__ = ()

    def throw(self, *error: Any) -> object:
        return None if self.dead else super().throw(*error)


class Registry:
    """Serves accepted connections.

    Args:
        config: the limits.
        hooks: the server's.
        counters: where to count.
        max_connections: how many may be open at once.
        handle: serves one connection in its greenlet, and returns how it ended.
        echoes: whether received bytes are owed to the peer. Owed bytes that cannot be returned count as lost.
        emptied: called when the last connection has ended; must not block.
        attend: makes the hub serve one open connection alone until its `wake` is called, or returns False.
        connect: makes the state of an accepted connection.

    Attributes:
        open: the connections.
        peak: the largest number of them so far.
        max_connections: as given.
        refusals: the log of peers that were turned away.
        draining: whether a drain goes on. The drain, and not the end of each connection, then limits the time for owed
            bytes.
    """

    def __init__(
        self,
        config: ServerConfig,
        hooks: ServerHooks,
        counters: Counters,
        *,
        max_connections: int,
        handle: Callable[[Connection, Deadlines], Ending],
        echoes: bool,
        emptied: Callable[[], None],
        attend: Callable[[Connection], bool] = lambda _: False,
        connect: Callable[[socket.socket, SockAddr, Clock, Traffic], Connection] = Connection,
    ) -> None:
        self.open: set[Connection] = set()
        self.peak = 0
        self.max_connections = max_connections
        self.draining = False
        self._config = config
        self._hooks = hooks
        self._counters = counters
        self._connect = connect
        self._attend = attend
        self._handle = handle
        self._woken = self._wake  # one bound method for all connections
        self._echoes = echoes
        self._emptied = emptied
        self._metered = config.max_bytes is not None or config.max_rate is not None
        self._clock = Clock()
        self._deadlines = Deadlines(config, self._clock)
        self._limits = AddressLimits(config)
        self.refusals = RefusalLog()

    # Called by the acceptor in the hub, where nothing may block -------------------------------------------------------

    def free_slots(self) -> int:
        """How many more connections may be open."""
        return self.max_connections - len(self.open)

    def admit(self, sockaddr: SockAddr) -> Refusal | None:
        """Admit a peer, to be given to `add`, or return why not. The client of a proxy is judged later."""
        if self._limits.knows_proxies and self._limits.is_proxy(sockaddr):
            return None
        return self._limits.admit(sockaddr)

    def add(self, sock: socket.socket, sockaddr: SockAddr) -> None:
        """Serve an accepted socket."""
        if not self.open:
            self._deadlines.start()
        connection = self._connect(sock, sockaddr, self._clock, self._counters.traffic)
        if self._metered:
            connection.meter = Meter(self._config.max_bytes, self._config.max_rate, RECEIVE_SIZE)
        if self._limits.knows_proxies and self._limits.is_proxy(sockaddr):
            connection.header_size = None
        self.open.add(connection)
        self.peak = max(self.peak, len(self.open))
        self._counters.add("accepted")
        self._deadlines.add(connection)
        # Only a greenlet can wait for a header, for a hook or until a rate allows more.
        needs_greenlet = self._metered or connection.header_size is None or self._hooks.connection is not None
        if needs_greenlet or not self._attend(connection):
            get_hub().loop.run_callback(self._begin, connection)
        else:
            connection.phase, connection.wake = Phase.OPEN, self._woken

    def _wake(self, connection: Connection, error: Raised | None = None, *, at_end: bool = False) -> None:
        """Serve a connection in a greenlet from now on, not in the hub alone. At its peer's FIN or RST, end it here.

        An end that may be logged needs a greenlet, because logging may wait for a lock. The end of the last connection
        may be the end of the server, which is logged.
        """
        watcher = connection.sock._read_event
        if watcher is not None:  # else the socket was closed from elsewhere
            watcher.stop()
        ending = Ending.PEER if at_end else _broken_by(connection, error)
        if ending is not None and len(self.open) > 1 and not logger.isEnabledFor(logging.DEBUG):
            self._settle(connection, ending)
        else:
            self._begin(connection, error)

    def _begin(self, connection: Connection, error: Raised | None = None) -> None:
        try:
            # A bound method would be an object more for each connection, in memory and for the cycle collector.
            _Serving(Registry._serve, get_hub()).switch(self, connection, error)
        except MemoryError:
            # Without its greenlet, nothing else would end the connection.
            logger.warning("a connection was lost: there is no memory for its greenlet")
            self._settle(connection, Ending.FAILURE)

    def refused(self, sockaddr: SockAddr, refusal: Refusal) -> None:
        """Count a peer that was accepted and closed at once."""
        self._counters.refuse(refusal)
        self._report_refusal(sockaddr, refusal)

    def _report_refusal(self, sockaddr: SockAddr, refusal: Refusal) -> None:
        self.refusals.add(refusal.value)
        if self._hooks.refuse is not None:
            self._hooks.call_soon("refuse", Address.from_sockaddr(sockaddr), refusal)

    def accept_failed(self, error: OSError) -> None:
        """Count an error of accept(2) that is not a peer's."""
        self._counters.add("accept_errors")
        self.refusals.add(f"accept failed ({describe(error)})")
        self._hooks.call_soon("error", error)

    def dropped(self, count: int) -> None:
        """Count connects that the kernel dropped because the accept queue was full."""
        self._counters.add("queue_drops", count)
        self.refusals.add("accept queue full", count)

    # What there is ----------------------------------------------------------------------------------------------------

    def counts(self) -> dict[str, int]:
        """All counters by name, the bytes of open connections included, with `open` and `peak` connections.

        With `tcp_info` also `opening` and `ending` connections: to count these, it checks each open connection.
        """
        counts = self._counters.as_dict() | {"open": len(self.open), "peak": self.peak}
        if self._counters.tcp_info:
            phases = [connection.phase for connection in self.open]
            counts["opening"], counts["ending"] = phases.count(Phase.OPENING), phases.count(Phase.ENDING)
        return counts

    def owed(self) -> int:
        """Bytes of open connections that were received and are not yet returned."""
        return sum(connection.owed for connection in self.open) if self._echoes else 0

    # Ending all of them -----------------------------------------------------------------------------------------------

    def drain(self, idle: float) -> None:
        """From now on, end connections after `idle` seconds without a byte."""
        self.draining = True
        self._deadlines.drain(idle, list(self.open))

    def end(self) -> None:
        """End all open connections in order."""
        for connection in self.open:
            if connection.phase is not Phase.ENDING:
                connection.end(Ending.CUT)
            elif connection.pending is not None:
                connection.end_reason = Ending.CUT

    def cut(self) -> None:
        """End all open connections at once."""
        for connection in self.open:
            connection.cut()

    def abandon(self) -> None:
        """Close the sockets of handlers that do not end."""
        for connection in list(self.open):
            logger.warning("a handler does not end; its socket is closed now")
            self._settle(connection, Ending.CUT)

    # Each runs in its connection's greenlet ---------------------------------------------------------------------------

    def _serve(self, connection: Connection, error: Raised | None) -> None:
        connection.greenlet = gevent.getcurrent()
        ending: Ending | Refusal | None = None
        try:
            if error is not None:
                try:
                    raise error
                finally:
                    del error  # its traceback has this frame: only the cycle collector would free the two
            if connection.end_reason is None:
                connection.phase = Phase.OPENING
                if connection.header_size is None and (ending := self._refusal_of_client(connection)) is not None:
                    return
                connection.begin()
                connection.phase = Phase.OPEN
                if self._hooks.connection is not None:
                    self._hooks.call("connection", connection.info())
                ending = self._handle(connection, self._deadlines)
                if connection.is_truncated and ending in (Ending.PEER, Ending.HANDLER):
                    ending = Ending.TRUNCATED
        except Ended:
            pass  # its end reason tells why
        except KeyboardInterrupt:  # Python raises it in the code that runs; the hub passes it on to the process
            self._settle(connection, Ending.FAILURE)
            raise
        except BaseException as failure:  # SystemExit included: it ends this connection, not the process
            ending = self._failed(connection, failure)
        finally:
            try:
                self._finish(connection, ending)
            finally:
                self._settle(connection, ending or connection.end_reason or Ending.CUT)

    def _refusal_of_client(self, connection: Connection) -> Refusal | None:
        """Read the PROXY header, and admit or refuse the client that it names."""
        header = read_header(connection)
        connection.sockaddr = header.source or connection.sockaddr
        refusal = self._limits.admit(connection.sockaddr)
        if refusal is None:
            connection.header_size, connection.last_byte_at = header.size, self._clock.now
        else:
            self._report_refusal(connection.sockaddr, refusal)
        return refusal

    def _failed(self, connection: Connection, error: BaseException) -> Ending:
        """Return the ending: a broken connection, a timeout of the handler, or its failure."""
        if isinstance(error, HeaderFailed):
            self._counters.add(f"proxy_header_{error.why.value}")
            if error.why is not HeaderFailure.PROBE:
                self.refusals.add(f"no PROXY header: {error.why.value}")
            return Ending.PROXY_HEADER
        if isinstance(error, HandshakeFailed):
            self._counters.add(f"handshake_{error.why.value}")
            self.refusals.add(f"handshake failed: {error.why.value}")
            return Ending.HANDSHAKE
        if (ending := _broken_by(connection, error)) is not None:
            return ending
        if not isinstance(error, gevent.GreenletExit) and connection.phase is not Phase.CLOSED:
            logger.error("a handler failed at %s, its connection is closed: %s", locate(error), describe(error))
            logger.debug("a handler failed", exc_info=error)
            self._hooks.call_soon("error", error)
        return Ending.TIMEOUT if isinstance(error, TimeoutError | gevent.Timeout) else Ending.FAILURE

    def _finish(self, connection: Connection, ending: Ending | Refusal | None) -> None:
        """End the stream in order, unless the peer is gone."""
        if connection.phase is Phase.CLOSED:
            return
        connection.phase = Phase.ENDING
        if ending in connection.closed_alone or connection.end_reason is Ending.HANDSHAKE or connection.sock.closed:
            return
        if connection.header_size is None:
            return
        if connection.end_reason in (Ending.WRITE_STALL, Ending.VANISHED):
            # Its time is over. After close() the kernel would retry for minutes, and keep the queued bytes.
            if self._echoes:
                connection.count_destroyed(destroyed_by_close(connection, reset=True))
            self._count_tcp_info(connection)
            abort(connection.sock)
            return
        if connection.is_read_out:
            return  # close(2) alone sends FIN, and no RST: nothing is unread, and nothing more can come
        try:
            if not self.draining:
                self._deadlines.limit_delivery(connection)
            if self._echoes or linger_time(connection.sock) != 0:  # else the handler wants RST, which close(2) sends
                finish(connection)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # The peer is gone, its time is over, or the handler left a timeout running, or a greenlet that waits on
            # the socket. Undelivered bytes are counted as lost.
            logger.debug("an end was cut short: %s", describe(error))

    def _settle(self, connection: Connection, ending: Ending | Refusal) -> None:
        if connection.phase is Phase.CLOSED:
            return
        connection.phase = Phase.CLOSED
        if self._echoes and ending is not Ending.PEER:
            connection.count_destroyed(destroyed_by_close(connection, reset=False))
        self._count_tcp_info(connection)
        try:
            connection.sock.close()
        except OSError:
            pass  # a handler may have closed the descriptor
        self._deadlines.forget(connection)
        self.open.discard(connection)
        if connection.header_size is not None:
            self._limits.release(connection.sockaddr)
        self._counters.end(ending, lost=connection.owed if self._echoes else 0)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s ended: %s", Address.from_sockaddr(connection.sockaddr), ending.value)
        if not self.open:
            self._deadlines.stop()
            self._emptied()

    def _count_tcp_info(self, connection: Connection) -> None:
        """Count the kernel's figures of a TCP connection, unless its socket is closed."""
        if self._counters.tcp_info and not connection.is_local and not connection.sock.closed:
            try:
                self._counters.add_path(*path_quality(connection.sock))
            except OSError:
                pass  # a handler has closed the descriptor


def _broken_by(connection: Connection, error: Raised | None) -> Ending | None:
    """How an error of reading or writing ended the connection; None for any other error."""
    with contextlib.suppress(Exception):  # an error class of the handler may fail when its `errno` is read
        if isinstance(error, BaseException) and connection.is_broken_by(error):
            # ETIMEDOUT: the peer answered neither sent bytes nor keep-alive probes (tcp(7)).
            return Ending.VANISHED if getattr(error, "errno", 0) == errno.ETIMEDOUT else Ending.RESET
    return None
