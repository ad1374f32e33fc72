"""TcpServer(address, handler) and EchoServer: accept, registry, drain.

Log lines leave through the logger ``geventecho.server``: INFO for listening and stopped, DEBUG for each connection,
WARNING and ERROR for failures. Bytes of a peer are never logged.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self, cast

from gevent import socket, spawn
from gevent.event import Event
from gevent.monkey import get_original

from geventecho.address import DEFAULT_TARGET, Address, AddressLike, SockAddr
from geventecho.errors import ConfigError, ListenError, ServerStateError
from geventecho.net import descriptor_capacity
from geventecho.server.config import ServerConfig
from geventecho.server.connection import Connection, ConnectionInfo
from geventecho.server.counted_socket import CountedSocket
from geventecho.server.counters import Counters, Ending, Refusal
from geventecho.server.deadlines import Deadlines
from geventecho.server.drain import Drain, StopReport
from geventecho.server.echo import echo
from geventecho.server.echo_in_hub import SharedBuffers, attend, echo_in_hub
from geventecho.server.endpoints import Endpoints
from geventecho.server.handler import Handler, check_handler
from geventecho.server.hooks import ServerHooks
from geventecho.server.registry import Registry

if TYPE_CHECKING:
    import ssl

    from geventecho.server.tls import Tls

__all__ = ["EchoServer", "ServerState", "StopReport", "TcpServer"]

logger = logging.getLogger("geventecho.server")

get_ident: Callable[[], int] = get_original("_thread", "get_ident")
"""Identifies the running thread. gevent's patched function identifies the greenlet."""


class ServerState(enum.Enum):
    """Where a server is in its life; a closed one can be started again."""

    NEW = "new"
    LISTENING = "listening"
    DRAINING = "draining"
    CLOSED = "closed"


class TcpServer:
    """A TCP (or Unix) server with a greenlet per connection around `gevent.server.StreamServer`.

    Until it is stopped, only the thread that started it may call `start`, `serve_forever`, `close`, `join` and `stop`.
    From another thread, ``hub.loop.run_callback_threadsafe(gevent.spawn, server.stop)`` stops it; `hub` is the result
    of `gevent.get_hub()` in the server's thread.

    Args:
        address: a target, or a list of them; port 0 lets the kernel choose, and `address` has the port. Limits and
            counters are common to all addresses.
        handler: takes a gevent socket and the peer's sockaddr, as StreamServer's does. When it returns, the stream is
            ended in order and the socket closed; the socket must not outlive it. An exception that it raises ends this
            connection alone. The server ends it by `geventecho.Ended`, a GreenletExit.
        config: limits; or give its options by keyword.
        ssl_context: serve TLS with it; best a context of `gevent.ssl`. A handler then gets a `gevent.ssl.SSLSocket`,
            after a successful handshake. It may be replaced at any time, for the connections accepted later.
        counters: where to count; in shared memory, another process can read the numbers.
        on_listening, on_connection, on_refuse, on_close, on_error: see `geventecho.ServerHooks`.
        options: options of `ServerConfig`, in place of `config`.

    Attributes:
        accept_later: None, or a function that takes the number of open connections, and returns whether other processes
            with the same listeners have fewer and should accept first. May be set before the server starts.

    Raises:
        AddressError: the target cannot be parsed.
        ConfigError: an option is out of range, both `config` and options are given, the handler cannot be called with a
            socket and an address, the context is not for a server, or it is missing for a tls:// address.
    """

    accept_later: Callable[[int], bool] | None = None

    def __init__(
        self,
        address: AddressLike | Sequence[AddressLike],
        handler: Handler,
        *,
        config: ServerConfig | None = None,
        ssl_context: ssl.SSLContext | None = None,
        counters: Counters | None = None,
        on_listening: Callable[[TcpServer], object] | None = None,
        on_connection: Callable[[ConnectionInfo], object] | None = None,
        on_refuse: Callable[[Address, Refusal], object] | None = None,
        on_close: Callable[[StopReport], object] | None = None,
        on_error: Callable[[BaseException], object] | None = None,
        **options: Any,
    ) -> None:
        self._targets = [
            Address.of(target) for target in (address if isinstance(address, list) else [cast(AddressLike, address)])
        ]
        if not self._targets:
            raise ConfigError("the list of addresses is empty")
        check_handler(handler)
        self._handler = handler
        self.config = ServerConfig.of(config, options)
        self._tls = self._make_tls(ssl_context)
        self._hooks = ServerHooks(on_listening, on_connection, on_refuse, on_close, on_error)
        self._counters = counters or Counters()
        self._registry = self._make_registry(0)
        self._endpoints: Endpoints | None = None
        self._addresses: tuple[Address, ...] = ()
        self._state = ServerState.NEW
        self._stop_requested = False
        self._closed = Event()
        self._closed.set()
        self._thread = get_ident()
        self._drain: Drain | None = None
        self._report = StopReport()

    # Life -------------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Listen and accept; on return connects succeed.

        Raises:
            ListenError: an address is in use, not permitted, or not of this machine; the server listens nowhere then.
            ServerStateError: the server is listening or draining.
        """
        self._check_thread()
        if self._state in (ServerState.LISTENING, ServerState.DRAINING):
            raise ServerStateError(f"the server is {self._state.value}; stop() it before it is started again")
        try:
            self._endpoints = Endpoints(self._targets, self.config, scheme="tcp" if self._tls is None else "tls")
        except ListenError as error:
            self._hooks.call("error", error)
            raise
        self._addresses = tuple(self._endpoints.addresses)
        limit = self.config.max_connections
        self._registry = self._make_registry(descriptor_capacity() if limit is None else limit)
        self._stop_requested = False
        self._closed, self._thread = Event(), get_ident()
        self._state = ServerState.LISTENING
        self._endpoints.accept(self._registry, self._socket_class, self.accept_later)
        for address in self._addresses:
            logger.info("listening on %s", address)
        for text in self._endpoints.unexpected_effects():
            logger.warning(text)
        self._hooks.call("listening", self)

    def serve_forever(self) -> StopReport:
        """Start unless started, and return once the server was closed and its last connection has ended.

        After an earlier stop() it returns at once.

        Raises:
            ListenError, ServerStateError: as start() does.
        """
        self._check_thread()
        if not self._stop_requested:
            if self._state is not ServerState.LISTENING:
                self.start()
            try:
                self._closed.wait()
            except BaseException:
                self.close()
                raise
        self._stop_requested = False
        return self._report

    def close(self) -> None:
        """Stop accepting: queued connections are still served, later connects are refused. Connections go on.

        Idempotent; join() waits for the connections.

        Raises:
            ServerStateError: another thread started the server.
        """
        self._check_thread()
        if self._endpoints is None:
            return
        self._drain = Drain(self._registry, self._counters, self._closed)
        self._endpoints.shut()
        self._endpoints = None
        self._registry.refusals.write()
        self._state = ServerState.DRAINING
        self._registry_emptied()

    def join(self, timeout: float | None = None) -> bool:
        """Wait until the server was closed and its last connection has ended.

        Args:
            timeout: how long, in seconds; None waits for ever.

        Returns:
            Whether it ended in time.

        Raises:
            ServerStateError: another thread started the server.
        """
        self._check_thread()
        return bool(self._closed.wait(timeout))

    def stop(self, timeout: float | None = None) -> StopReport:
        """Stop accepting, let connections finish, end the rest.

        A connection without a byte for `drain_idle` is ended; an active one goes on until `timeout`, is then ended
        too, and gets one more second for its owed bytes. Idempotent, and safe to call from several greenlets.

        Args:
            timeout: in seconds; None is `drain_timeout`.

        Raises:
            ServerStateError: another thread started the server; nothing is stopped.
        """
        self._check_thread()
        self._stop_requested = True
        self.close()
        if self._state is ServerState.NEW:
            self._state = ServerState.CLOSED
        if self._drain is not None:
            # In a greenlet of its own: the caller may serve one of the connections that it ends.
            seconds = self.config.drain_timeout if timeout is None else timeout
            spawn(self._drain.run, self.config.drain_idle, seconds).join()
        return self._report

    def __enter__(self) -> Self:
        if self._state is not ServerState.LISTENING:
            self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # State ------------------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ServerState:
        """Where the server is in its life."""
        return self._state

    @property
    def address(self) -> Address | None:
        """The first address where it listens or last listened; None before the first start()."""
        return self._addresses[0] if self._addresses else None

    @property
    def addresses(self) -> tuple[Address, ...]:
        """All addresses where it listens or last listened."""
        return self._addresses

    @property
    def connections(self) -> list[ConnectionInfo]:
        """A snapshot of the open connections."""
        return [connection.info() for connection in self._registry.open]

    @property
    def connection_count(self) -> int:
        """How many connections are open."""
        return len(self._registry.open)

    @property
    def max_connections(self) -> int:
        """How many may be open at once, as in force since the last start()."""
        return self._registry.max_connections

    @property
    def counters(self) -> dict[str, int]:
        """All counters by name, the bytes of open connections included, with `open` and `peak` connections.

        accepted = refused + ended + open, and bytes_received = bytes_sent + bytes_discarded + bytes_lost once an echo
        server has no connection open.
        """
        return self._registry.counts()

    @property
    def ssl_context(self) -> ssl.SSLContext | None:
        """The context of the next handshakes. A connection keeps the context that it began with.

        Raises:
            ConfigError: when set: it is not for a server, or the server was made without TLS.
        """
        return None if self._tls is None else self._tls.context

    @ssl_context.setter
    def ssl_context(self, context: ssl.SSLContext) -> None:
        if self._tls is None:
            raise ConfigError("the server was made without TLS; give ssl_context when it is made")
        self._tls.use(context)

    def __repr__(self) -> str:
        where = ", ".join(map(str, self._addresses or self._targets))
        return f"<{type(self).__name__} {where} {self.state.value} {self.connection_count} open>"

    def report_now(self) -> StopReport:
        """The report of a stop as it would be if the process ended at this moment."""
        return self._report if self._drain is None else self._drain.report()

    def _check_thread(self) -> None:
        """A hub's watchers and events belong to its thread: used from another thread, they break both or do nothing."""
        if not self._closed.is_set() and self._thread != get_ident():
            raise ServerStateError(
                "another thread runs this server, and has to make the call itself: "
                "its_hub.loop.run_callback_threadsafe(gevent.spawn, server.stop)"
            )

    def _registry_emptied(self) -> None:
        """Report once the server is closed and empty. The hook may block, in its greenlet; join() waits for it."""
        if self._state is not ServerState.DRAINING or self._registry.open:
            return
        self._state = ServerState.CLOSED
        self._report, self._drain = self.report_now(), None
        logger.info("stopped: %s", self._report)
        closed = self._closed  # of this run: the hook may start the server again
        if self._hooks.close is None:
            closed.set()
        else:
            spawn(self._hooks.call, "close", self._report).rawlink(lambda _: closed.set())

    # Overridden by EchoServer -----------------------------------------------------------------------------------------

    _socket_class: type[socket.socket] = CountedSocket
    _echoes = False

    def _handle(self, connection: Connection, _deadlines: Deadlines) -> Ending:
        connection.sock.account.connection = connection
        if self._tls is None:
            connection.passed = (0, 0)
        try:
            self._handler(connection.sock, connection.sockaddr)
        finally:
            connection.sock.account.connection = None  # a cycle: only the cycle collector would free the two
        return Ending.HANDLER

    def _attend(self, _connection: Connection) -> bool:
        """Whether the hub serves a new connection alone, until it calls the connection's `wake`."""
        return False

    def _make_tls(self, context: ssl.SSLContext | None) -> Tls | None:
        if context is None:
            needs = ["alpn"] if self.config.alpn is not None else []
            needs += [str(target) for target in self._targets if target.scheme == "tls"]
            if needs:
                raise ConfigError(f"{needs[0]} needs an ssl_context")
            return None
        from geventecho.server.tls import Tls  # noqa: PLC0415  # ssl is 4 MiB that a server without TLS does not need

        self._socket_class = socket.socket
        return Tls(context, self.config.alpn)

    def _make_registry(self, max_connections: int) -> Registry:
        if not self._echoes and (self.config.max_bytes is not None or self.config.max_rate is not None):
            raise ConfigError("max_bytes and max_rate are limits of the echo loop: a handler has to keep its own")
        return Registry(
            self.config, self._hooks, self._counters, max_connections=max_connections,
            connect=Connection if self._tls is None else self._tls.connection,
            attend=self._attend, handle=self._handle, echoes=self._echoes, emptied=self._registry_emptied,
        )  # fmt: skip


class EchoServer(TcpServer):
    """A server that returns every byte it is sent: no greeting, no lines, no limit on length (RFC 862).

    Args:
        address: a target, or a list of them; port 0 lets the kernel choose, and `address` has the port.
        arguments: those of `TcpServer`, without the handler.

    Attributes:
        in_hub: True, the default: the event loop's hub returns whole messages, and wakes a connection's greenlet for
            all else. False: the greenlet does everything, which costs more CPU time (docs/performance.md has both).
            Peers see no difference. A class or an instance may set it; it holds for connections accepted later.
    """

    in_hub: bool = True
    _socket_class = socket.socket
    _echoes = True

    def __init__(self, address: AddressLike | Sequence[AddressLike] = DEFAULT_TARGET, **arguments: Any) -> None:
        super().__init__(address, _no_handler, **arguments)

    def _handle(self, connection: Connection, deadlines: Deadlines) -> Ending:
        if self.in_hub and connection.meter is None:
            return echo_in_hub(connection, deadlines, self._buffers)
        return echo(connection, deadlines)

    def _attend(self, connection: Connection) -> bool:
        return self.in_hub and self._tls is None and attend(connection, self._buffers)

    def _make_registry(self, max_connections: int) -> Registry:
        self._buffers = SharedBuffers()
        return super()._make_registry(max_connections)


def _no_handler(_sock: socket.socket, _sockaddr: SockAddr) -> None:
    raise ServerStateError("an echo server serves its connections by its own loop")
