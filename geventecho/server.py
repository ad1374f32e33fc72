"""TcpServer(address, handler) and EchoServer: accept, registry, drain.

Log lines leave through the logger ``geventecho.server``: INFO for listening and stopped, DEBUG for each connection,
WARNING for what a handler lets pass. Nothing a peer sent is ever logged.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import gevent
from gevent import socket, spawn, spawn_raw
from gevent.event import Event

from geventecho import sockets
from geventecho.acceptor import Acceptor
from geventecho.address import Address, AddressLike, SockAddr
from geventecho.config import DEFAULT_TARGET, ServerConfig
from geventecho.connection import Clock, Connection, ConnectionInfo, CountedSocket, Ended, Phase
from geventecho.counters import Counters, Ending, Refusal
from geventecho.deadlines import Deadlines
from geventecho.echo import echo
from geventecho.errors import ConfigError, ListenError, ServerStateError
from geventecho.hooks import ServerHooks, describe
from geventecho.linger import LINGER_SECONDS, finish

__all__ = ["EchoServer", "ServerState", "StopReport", "TcpServer"]

logger = logging.getLogger("geventecho.server")

Handler = Callable[[socket.socket, SockAddr], object]

FLUSH_SECONDS: Final = 1.0
"""What a drain grants, once its time is over, to deliver what is owed."""
STUBBORN_SECONDS: Final = 0.1
"""How long a handler may take to die once it is cut; then its socket is closed under it."""


class ServerState(enum.Enum):
    """Where a server is in its life. A closed one can be started again."""

    NEW = "new"
    LISTENING = "listening"
    DRAINING = "draining"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class StopReport:
    """How a stop went.

    Attributes:
        drained: connections that ended in time.
        cut: connections that were still open at the drain timeout and were ended by it.
        bytes_lost: bytes received from these connections that could not be returned.
    """

    drained: int = 0
    cut: int = 0
    bytes_lost: int = 0

    def __str__(self) -> str:
        return f"drained {self.drained}, cut {self.cut}, bytes lost {self.bytes_lost}"


class TcpServer:
    """A TCP (or Unix) server with a greenlet per connection around `gevent.server.StreamServer`.

    Args:
        address: a target; port 0 lets the kernel choose, and `address` tells.
        handler: takes a gevent socket and the peer's sockaddr, as StreamServer's does. When it returns, the stream is
            ended in order and the socket closed; the socket must not outlive it. What it raises ends this connection
            alone. It is ended by `geventecho.connection.Ended`, a GreenletExit.
        config: limits; or give its options by keyword.
        on_listening, on_connection, on_refuse, on_close, on_error: see `geventecho.hooks.ServerHooks`.
        options: options of `ServerConfig`, in place of `config`.

    Raises:
        AddressError: the target cannot be parsed.
        ConfigError: an option is out of range, or both `config` and options are given.
    """

    def __init__(
        self,
        address: AddressLike,
        handler: Handler,
        *,
        config: ServerConfig | None = None,
        on_listening: Callable[[TcpServer], object] | None = None,
        on_connection: Callable[[ConnectionInfo], object] | None = None,
        on_refuse: Callable[[Address, Refusal], object] | None = None,
        on_close: Callable[[StopReport], object] | None = None,
        on_error: Callable[[BaseException], object] | None = None,
        **options: Any,
    ) -> None:
        self._target = Address.of(address)
        self._handler = handler
        self.config = _configure(config, options)
        self._hooks = ServerHooks(on_listening, on_connection, on_refuse, on_close, on_error)
        self._counters = Counters()
        self._clock = Clock()
        self._deadlines = Deadlines(self.config, self._clock)
        self._connections: set[Connection] = set()
        self._limit = 0
        self._peak = 0
        self._acceptor: Acceptor | None = None
        self._address: Address | None = None
        self._state = ServerState.NEW
        self._stop_requested = False
        self._closed = Event()
        self._closed.set()
        self._before_close = (0, 0, 0)
        self._report = StopReport()

    # Life -------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen and accept; on return connects succeed.

        Raises:
            ListenError: the address is in use, not permitted, or not of this machine.
            ServerStateError: the server is listening or draining.
        """
        if self._state in (ServerState.LISTENING, ServerState.DRAINING):
            raise ServerStateError(f"the server is {self._state.value}; stop() it before it is started again")
        try:
            listener, self._address = sockets.listen(self._target, backlog=self.config.backlog)
        except ListenError as error:
            self._hooks.call("error", error)
            raise
        most = self.config.max_connections
        self._limit = sockets.descriptor_capacity() if most is None else most
        self._deadlines = Deadlines(self.config, self._clock)
        self._acceptor = Acceptor(
            listener,
            socket_class=self._socket_class,
            deliver=self._accepted,
            is_full=lambda: len(self._connections) >= self._limit,
            refuse=self._refused,
            failed=self._accept_failed,
        )
        self._stop_requested = False
        self._closed.clear()
        self._state = ServerState.LISTENING
        self._acceptor.start()
        logger.info("listening on %s", self._address)
        self._hooks.call("listening", self)

    def serve_forever(self) -> StopReport:
        """Start unless started, and return once the server was closed and its last connection has ended.

        A stop() that came first is not lost: it returns at once then.

        Raises:
            ListenError, ServerStateError: as start() does.
        """
        if self._stop_requested:
            return self._report
        if self._state is not ServerState.LISTENING:
            self.start()
        try:
            self._closed.wait()
        finally:
            self.close()
        return self._report

    def close(self) -> None:
        """Stop accepting: what the kernel has queued is still served, later connects are refused. Connections go on.

        Idempotent; join() waits for the connections.
        """
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is None:
            return
        self._before_close = self._endings()
        acceptor.shut()
        sockets.remove_path(self._target)
        self._state = ServerState.DRAINING
        if not self._connections:
            self._last_ended()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the server was closed and its last connection has ended.

        Args:
            timeout: how long, in seconds; None waits for ever.

        Returns:
            Whether that came true in time.
        """
        return bool(self._closed.wait(timeout))

    def stop(self, timeout: float | None = None) -> StopReport:
        """Stop accepting, let connections finish, end the rest.

        A connection without a byte for `drain_idle` is ended; an active one goes on until `timeout`, is then ended
        too, and gets one more second for what it is owed. Idempotent, and safe to call from several greenlets.

        Args:
            timeout: in seconds; None is `drain_timeout`.
        """
        self._stop_requested = True
        self.close()
        if self._state is ServerState.NEW:
            self._state = ServerState.CLOSED
        if self._state is ServerState.DRAINING:
            self._deadlines.drain(self.config.drain_idle, list(self._connections))
            if not self._closed.wait(self.config.drain_timeout if timeout is None else timeout):
                self._cut()
            self._closed.wait()
        return self._report

    def __enter__(self) -> Self:
        if self._state is not ServerState.LISTENING:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # What it is doing -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ServerState:
        """Where the server is in its life."""
        return self._state

    @property
    def address(self) -> Address | None:
        """Where it listens, or last did; None before the first start()."""
        return self._address

    @property
    def connections(self) -> list[ConnectionInfo]:
        """A snapshot of the open connections."""
        return [connection.info() for connection in self._connections]

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._connections)

    @property
    def max_connections(self) -> int:
        """How many may be open at once, as in force since the last start()."""
        return self._limit

    @property
    def counters(self) -> dict[str, int]:
        """All counters by name, the bytes of open connections included, with `open` and `peak` connections.

        accepted = refused + ended + open, and bytes_received = bytes_sent + bytes_discarded + bytes_lost once an echo
        server has no connection open.
        """
        counts = self._counters.as_dict()
        for connection in self._connections:
            counts["bytes_received"] += connection.received + connection.discarded
            counts["bytes_discarded"] += connection.discarded
            counts["bytes_sent"] += connection.sent
        return counts | {"open": len(self._connections), "peak": self._peak}

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self._address or self._target} {self._state.value} {len(self._connections)} open>"
        )

    # Accepting: called by the acceptor in the hub, where nothing may block --------------------------------------------

    _socket_class: type[socket.socket] = CountedSocket

    def _accepted(self, sock: socket.socket, sockaddr: SockAddr) -> None:
        if not self._connections:
            self._deadlines.start()
        connection = Connection(sock, sockaddr, self._clock)
        self._connections.add(connection)
        self._peak = max(self._peak, len(self._connections))
        self._counters.add("accepted")
        self._deadlines.watch(connection)
        spawn_raw(self._serve, connection)

    def _refused(self, sockaddr: SockAddr, no_descriptor: bool) -> None:
        refusal = Refusal.NO_DESCRIPTOR if no_descriptor else Refusal.FULL
        self._counters.refuse(refusal)
        if self._hooks.refuse is not None:
            self._hooks.call_soon("refuse", sockets.name_of(sockaddr), refusal)

    def _accept_failed(self, error: OSError) -> None:
        self._counters.add("accept_errors")
        logger.warning("accept on %s failed: %s", self._address, describe(error))
        self._hooks.call_soon("error", error)

    # Serving: each runs in its connection's greenlet ------------------------------------------------------------------

    def _serve(self, connection: Connection) -> None:
        """Run the handler; whatever it does, the stream is ended, the socket closed and the counters settled."""
        connection.greenlet = gevent.getcurrent()
        ending = None
        try:
            if connection.verdict is None:
                connection.phase = Phase.OPEN
                if self._hooks.connection is not None:
                    self._hooks.call("connection", connection.info())
                ending = self._handle(connection)
        except Ended:
            pass  # for the reason its verdict gives
        except BaseException as error:  # SystemExit included: it is this connection's end, not the process's
            ending = self._failed(error)
        finally:
            connection.phase = Phase.ENDING
            self._finish(connection, ending)
            self._settle(connection, ending or connection.verdict or Ending.FAILURE)

    def _handle(self, connection: Connection) -> Ending:
        connection.sock.connection = connection
        self._handler(connection.sock, connection.sockaddr)
        return Ending.HANDLER

    def _failed(self, error: BaseException) -> Ending:
        """Tell a broken connection and a handler's timeout from its failure."""
        if isinstance(error, OSError) and sockets.is_broken(error):
            return Ending.RESET
        # A timeout of the socket's own has no errno; ETIMEDOUT, which has, is a connection that broke.
        ending = Ending.TIMEOUT if isinstance(error, TimeoutError | gevent.Timeout) else Ending.FAILURE
        if isinstance(error, gevent.GreenletExit):
            return ending
        logger.warning("a handler failed and lost its connection: %s", describe(error))
        self._hooks.call_soon("error", error)
        return ending

    def _finish(self, connection: Connection, ending: Ending | None) -> None:
        """End the stream in order, where there is still somebody to end it with."""
        # The peer has sent all it had and got it back: close() sends FIN and leaves nothing unread.
        if ending in (Ending.PEER, Ending.RESET) or connection.verdict is Ending.WRITE_STALL or connection.sock.closed:
            return
        draining = self._state is ServerState.DRAINING
        try:
            finish(connection, flush_seconds=None if draining else LINGER_SECONDS)
        except (OSError, Ended):
            pass  # the peer is gone, or its time is over: what could not be delivered is counted as lost

    def _settle(self, connection: Connection, ending: Ending) -> None:
        if connection.phase is Phase.CLOSED:
            return
        connection.phase = Phase.CLOSED
        connection.sock.close()
        self._deadlines.forget(connection)
        self._connections.discard(connection)
        counters = self._counters
        counters.end(ending)
        counters.add("bytes_received", connection.received + connection.discarded)
        counters.add("bytes_sent", connection.sent)
        counters.add("bytes_discarded", connection.discarded)
        counters.add("bytes_lost", self._lost(connection))
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s ended: %s", sockets.name_of(connection.sockaddr), ending.value)
        connection.greenlet = None
        if not self._connections:
            self._deadlines.stop()
            if self._state is ServerState.DRAINING:
                self._last_ended()

    def _lost(self, connection: Connection) -> int:  # noqa: ARG002 - what is owed, only a subclass can know
        """Bytes received that are owed to the peer and can no longer be delivered."""
        return 0

    # Ending -----------------------------------------------------------------------------------------------------------

    def _cut(self) -> None:
        """End what is left in order; then, a second later, without."""
        for connection in self._connections:
            if connection.phase is not Phase.ENDING:
                connection.end(Ending.CUT)
            elif connection.pending is not None:
                connection.verdict = Ending.CUT
        if self._closed.wait(FLUSH_SECONDS):
            return
        for connection in self._connections:
            connection.cut()
        if self._closed.wait(STUBBORN_SECONDS):
            return
        for connection in list(self._connections):
            logger.warning("a handler refuses to end; its socket is closed under it")
            self._settle(connection, Ending.CUT)

    def _endings(self) -> tuple[int, int, int]:
        """Connections ended so far, those cut among them, and bytes lost so far."""
        ended = sum(self._counters[f"ended_{ending.value}"] for ending in Ending)
        return ended, self._counters["ended_cut"], self._counters["bytes_lost"]

    def report_now(self) -> StopReport:
        """The report of a stop as it would be if the process ended at this moment."""
        (ended, cut, lost), before = self._endings(), self._before_close
        cut -= before[1]
        owed = sum(self._lost(connection) for connection in self._connections)
        left = len(self._connections)
        return StopReport(drained=ended - before[0] - cut, cut=cut + left, bytes_lost=lost - before[2] + owed)

    def _last_ended(self) -> None:
        """Closed and empty: report. The hook may block, so it has a greenlet; who waits for the close waits for it."""
        self._state = ServerState.CLOSED
        self._report = self.report_now()
        logger.info("stopped: %s", self._report)
        if self._hooks.close is None:
            self._closed.set()
        else:
            spawn(self._hooks.call, "close", self._report).rawlink(lambda _: self._closed.set())


class EchoServer(TcpServer):
    """A server that returns every byte it is sent: no greeting, no lines, no limit on length (RFC 862).

    Args:
        address: a target; port 0 lets the kernel choose, and `address` tells.
        arguments: as for `TcpServer`, but for the handler.
    """

    _socket_class = socket.socket

    def __init__(self, address: AddressLike = DEFAULT_TARGET, **arguments: Any) -> None:
        super().__init__(address, _no_handler, **arguments)

    def _handle(self, connection: Connection) -> Ending:
        return echo(connection, self._deadlines)

    def _lost(self, connection: Connection) -> int:
        return connection.received - connection.sent


def _no_handler(_sock: socket.socket, _sockaddr: SockAddr) -> None:
    raise ServerStateError("an echo server serves its connections by its own loop")


def _configure(config: ServerConfig | None, options: dict[str, Any]) -> ServerConfig:
    if config is not None:
        if options:
            raise ConfigError(f"give either config or options, not both: {', '.join(sorted(options))}")
        return config
    unknown = sorted(set(options) - set(ServerConfig.names()))
    if unknown:
        raise ConfigError(f"unknown options: {', '.join(unknown)}; there are {', '.join(ServerConfig.names())}")
    return ServerConfig(**options)
