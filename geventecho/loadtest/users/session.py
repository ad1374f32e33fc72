"""TcpSession: the client of a user, which reports each operation to Locust once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from time import perf_counter_ns
from types import EllipsisType
from typing import Any, Literal, overload
from weakref import WeakMethod

from locust import User

from geventecho.address import Address
from geventecho.client import Client, Payload, TlsLike, check_timeout
from geventecho.errors import ClosedLocally, ConcurrentUse, NetworkError, UnexpectedReply
from geventecho.framing import Framing, UntilClosed, Verdict
from geventecho.loadtest.measure import ABORTS, RECEIVE, SEND, TRANSACTION, Failed, Reporter, leaves_task
from geventecho.loadtest.users.backoff import Backoff
from geventecho.loadtest.users.expect import Expectation, check
from geventecho.loadtest.users.pipeline import Pipeline, Request
from geventecho.loadtest.users.response_block import Caught
from geventecho.net import Deadline

__all__ = ["TcpSession"]

Context = dict[str, Any] | None
Reply = Framing | Callable[[bytes], Verdict]
Seconds = float | EllipsisType | None
"""Seconds for one operation; None is no limit, ``...`` is the timeout of the session."""


class TcpSession:
    """The connection of one user. It reports each operation to Locust.

    The session connects before the first operation, and again after a loss. When a connection is lost during an
    operation, this operation fails. The next operation pauses, then connects again.

    All operations take `name`, the name of their row; `timeout`, the seconds for the whole operation (None is no limit;
    by default the session's timeout applies); and `context`, added to the context of the event. A failed operation is
    reported, and raises `Failed`; its `error` is the exception. `Failed` ends the task unless the task catches it.

    Args:
        user: the user of the session.
        target: the address to connect to.
        connect_timeout: seconds to resolve the name, connect, and shake hands with TLS; None is no limit.
        request_timeout: seconds for one operation; None is no limit.
        dial: a function that connects without a TLS handshake.
        tls: the TLS settings for a tls:// target and for `start_tls`.
        backoff: the pauses between connects.
        on_connect: a function that logs in after each connect.

    Attributes:
        target: see above.
        task_instant: the planned instant of the current task; None without a plan.

    Raises:
        ConfigError: a timeout is not a number above 0.
    """

    def __init__(
        self,
        user: User,
        target: Address,
        *,
        connect_timeout: float | None,
        request_timeout: float | None,
        dial: Callable[[Address], Client],
        tls: TlsLike,
        backoff: Backoff,
        on_connect: Callable[[], None],
    ) -> None:
        check_timeout("connect_timeout", connect_timeout)
        check_timeout("request_timeout", request_timeout)
        self.target = target
        self._backoff = backoff
        self._on_connect = on_connect
        self._connect_timeout = connect_timeout
        self._request_timeout = request_timeout
        self._tls = tls
        self._dial = dial
        # A bound method would make a reference cycle.
        self._reporter = Reporter(user, backoff.succeeded, WeakMethod(self._close_after))
        self._perform = self._reporter.perform
        self._client: Client | None = None
        self._connecting = False
        self._has_paused = False
        self._is_new = True  # the first connect has not begun
        self.task_instant: float | None = None

    def pause(self) -> None:
        """If there is no connection, wait for the pause before the next connect.

        Call it before a task takes its planned instant. Otherwise the response time would contain the pause.
        """
        if self._client is None:
            self._backoff.pause()
            self._has_paused = True

    def plan_task(self, instant: float | None) -> None:
        """Set the planned instant of the task that begins now. The first operation is measured from this instant.

        Args:
            instant: the instant, as time.perf_counter() counts; None at the end of the task.
        """
        self.task_instant = instant
        self._reporter.planned = None if instant is None else int(instant * 1e9)

    @property
    def connected(self) -> bool:
        """Whether there is a connection. A lost connection counts until the loss is noticed."""
        return self._client is not None

    def connect(self) -> None:
        """Connect now, and log in (`TcpUser.on_connect`). An open connection is closed first.

        The connect is reported as `connect`, and the handshake of a tls:// target as `tls`.
        """
        self.close()
        deadline = Deadline(self._connect_timeout)
        self._connecting = True
        failures = self._backoff.failures
        # Connect and login are measured from their own beginning, not from the planned instant.
        planned, self._reporter.planned = self._reporter.planned, None
        try:
            self._reporter.account.begin_connect(is_first=self._is_new)
            self._is_new = False
            self._perform("connect", None, self._open, self.target, SEND)
            self._reporter.account.connected += 1
            if self.target.scheme == "tls":
                self.start_tls(timeout=None if self._connect_timeout is None else deadline.remaining())
            self._log_in()
        except BaseException as error:
            failures += 1
            self._close_lost(error)
            raise
        finally:
            self._connecting = False
            self._reporter.planned = planned
            # A broken server may still accept connections: only an answer resets the failures.
            self._backoff.failures = failures

    def start_tls(self, *, timeout: Seconds = ..., context: Context = None) -> None:
        """Encrypt the connection. Call it in `on_connect`, after the server has agreed to STARTTLS. Reported as `tls`.

        The user's `tls` and the options such as --tcp-tls-ca say which certificates to trust. A tls:// target needs no
        call.
        """
        client = self._client or self._reconnect()
        self._perform("tls", context, partial(_start_tls, client, timeout), self._tls, SEND)
        self._reporter.account.connected += 1  # a run with only handshakes has no answered request

    def echo(self, payload: Payload, *, name: str = "echo", timeout: Seconds = ..., context: Context = None) -> Payload:
        """Send a payload, compare every byte of the echo, and return the payload."""
        client = self._client or self._reconnect()
        if timeout is ...:
            return self._perform(name, context, client.echo, payload)
        return self._perform(name, context, partial(client.echo, timeout=timeout), payload)

    @overload
    def request(
        self,
        payload: Payload,
        reply: Reply,
        *,
        name: str = ...,
        expect: Expectation | None = ...,
        timeout: Seconds = ...,
        context: Context = ...,
        catch_response: Literal[False] = ...,
    ) -> bytes: ...

    @overload
    def request(
        self,
        payload: Payload,
        reply: Reply,
        *,
        name: str = ...,
        expect: Expectation | None = ...,
        timeout: Seconds = ...,
        context: Context = ...,
        catch_response: Literal[True],
    ) -> AbstractContextManager[Caught]: ...

    def request(
        self,
        payload: Payload,
        reply: Reply,
        *,
        name: str = "request",
        expect: Expectation | None = None,
        timeout: Seconds = ...,
        context: Context = None,
        catch_response: bool = False,
    ) -> bytes | AbstractContextManager[Caught]:
        """Send a payload and return the reply.

        Args:
            payload: the bytes to send.
            reply: the framing that finds the end of the reply, see geventecho.framing. If the server's FIN ends the
                reply, the next operation makes a new connection.
            name: see the class.
            expect: the bytes of the reply, a compiled pattern to find in it, or a predicate. Another reply is the
                failure "unexpected reply"; the connection is kept.
            timeout: see the class.
            context: see the class.
            catch_response: return a context manager whose block decides the outcome, see `Caught`.
        """

        def exchange(client: Client) -> bytes:
            got = client.request(payload, reply, timeout=timeout)
            if isinstance(reply, UntilClosed):
                self.close()
            return got if expect is None else check(got, expect, self.target)

        if catch_response:
            return self._catch(exchange, name, context)
        return bytes(self._perform(name, context, exchange, self._client or self._reconnect()))

    def send(self, payload: Payload, *, name: str = "send", timeout: Seconds = ..., context: Context = None) -> None:
        """Send a payload without a reply. The size in the row is the size of the payload."""
        client = self._client or self._reconnect()

        def send(payload: Payload) -> Payload:
            client.send(payload, timeout=timeout)
            return payload

        self._perform(name, context, send, payload, SEND)

    def receive(
        self,
        reply: Reply,
        *,
        name: str = "receive",
        expect: Expectation | None = None,
        timeout: Seconds = ...,
        context: Context = None,
    ) -> bytes:
        """Wait for a message that the server sends by itself, and return it. The time in the row is the wait."""

        def receive(client: Client) -> bytes:
            got = client.receive(reply, timeout=timeout)
            return got if expect is None else check(got, expect, self.target)

        return bytes(self._perform(name, context, receive, self._client or self._reconnect(), RECEIVE))

    def expect_silence(self, seconds: float) -> None:
        """Check that the server does not speak first. Call it in `on_connect`. Reports nothing.

        Args:
            seconds: the time to wait.

        Raises:
            UnreadGreeting: the server sent something. This error fails `on_connect`.
            ClosedByPeer: the server closed the connection.
        """
        client = self._client or self._reconnect()
        client.expect_silence(seconds)

    def pipeline(
        self, requests: Iterable[Request], *, depth: int, timeout: Seconds = ..., context: Context = None
    ) -> list[bytes]:
        """Send requests without waiting for each reply, and return the replies. A request is reported with its reply.

        After a failure or an unexpected reply the connection is closed, and the other requests under way fail too,
        because later replies can no longer be matched with requests.

        Args:
            requests: the requests in order; see `Request`.
            depth: the most requests under way at once, 1 or more.
            timeout: seconds for each reply, counted from the previous reply.
            context: see the class.
        """
        client = self._client or self._reconnect()
        limit = self._request_timeout if isinstance(timeout, EllipsisType) else timeout
        pipeline = Pipeline(self._reporter, client, depth, limit, context)
        try:
            return pipeline.run(requests)
        except BaseException as error:
            self._backoff.failed()
            self._close_lost(error)
            raise

    @contextmanager
    def transaction(self, name: str, *, context: Context = None) -> Iterator[None]:
        """Report the block as one operation, in a row of type TRANSACTION. It fails if the block raises."""
        self._reporter.account.started += 1
        begun = self._reporter.planned or perf_counter_ns()  # the first operation in it begins at the same instant
        left: BaseException | None = None
        try:
            yield
        except BaseException as error:
            if not leaves_task(error):
                self._reporter.ended(name, context, self._reporter.sample_until_now(begun), error, TRANSACTION)
                raise
            left = error
        self._reporter.ok(name, context, self._reporter.sample_until_now(begun), b"", TRANSACTION)
        if left is not None:
            raise left

    def close(self) -> None:
        """Close the connection, if there is one. Reports nothing."""
        self._close(None)

    def _close(self, error: BaseException | None) -> None:
        client, self._client = self._client, None
        if client is not None:
            self._reporter.account.end_connection(client.bytes_sent, client.bytes_received, error)
            client.close()

    def _close_after(self, error: BaseException) -> None:
        """Close the connection after an error in an operation. Two kinds of errors leave the connection usable."""
        if isinstance(error, Failed):
            error = error.error
        if isinstance(error, UnexpectedReply | ConcurrentUse):
            return
        self._backoff.failed()
        self._close_lost(error)

    def _close_lost(self, error: BaseException) -> None:
        """Close the connection because of an error, and count it as lost unless the user was stopped."""
        if self._client is not None and not isinstance(error, ABORTS):
            self._reporter.account.lost += 1
        self._close(error)

    def _open(self, target: Address) -> bytes:
        with self._reporter.account.connecting():
            self._client = self._dial(target)
        self._reporter.connected(self._client)
        return b""

    def _log_in(self) -> None:
        try:
            self._on_connect()
        except (Failed, *ABORTS):
            raise
        except Exception as error:
            # No operation has reported this error, and every failure must be in a row.
            self._reporter.account.started += 1
            self._reporter.ended("on_connect", None, self._reporter.sample_until_now(perf_counter_ns()), error)
            raise Failed(error) from error

    @contextmanager
    def _catch(self, exchange: Callable[[Client], bytes], name: str, context: Context) -> Iterator[Caught]:
        """Do a request, pass its reply to the block, and report the request once, with the outcome of the block.

        An exception in the block is also a failure, and is raised again.
        """
        client = self._client or self._reconnect()
        reporter = self._reporter
        caught = Caught(self.target)
        begun = reporter.begin()
        try:
            caught.data = exchange(client)
            sample = reporter.sample(begun)
        except NetworkError as error:
            caught.error = Failed(error)
            self._close_after(error)
            sample = reporter.sample_until_now(begun, client.traffic.sent_at)
        except BaseException as error:
            self._close_after(error)
            reporter.ended(name, context, reporter.sample_until_now(begun, client.traffic.sent_at), error)
            raise
        left: BaseException | None = None
        try:
            yield caught
        except BaseException as error:
            if not leaves_task(error):
                reporter.ended(name, context, sample, error)
                raise
            left = error
        if caught.outcome is None:
            reporter.ok(name, context, sample, caught.data)
        else:
            reporter.ended(name, context, sample, caught.outcome)
        if left is not None:
            raise left

    def _reconnect(self) -> Client:
        if self._connecting:
            lost = ClosedLocally("the connection was lost during the login", address=self.target, phase="write")
            raise Failed(lost)
        if not self._has_paused:
            self._backoff.pause()
        self._has_paused = False
        self.connect()
        if self._client is None:
            raise Failed(ClosedLocally("on_connect closed the connection", address=self.target, phase="write"))
        return self._client


def _start_tls(client: Client, timeout: Seconds, tls: TlsLike) -> bytes:
    client.start_tls(tls, timeout=timeout)
    return b""
