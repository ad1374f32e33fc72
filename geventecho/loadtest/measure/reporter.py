"""Reporter: measures a user's operations, and reports each operation once."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from time import perf_counter_ns, time
from typing import Any, Final
from weakref import WeakMethod

from locust import User

from geventecho.client import Client, Payload, Traffic
from geventecho.errors import NetworkError
from geventecho.loadtest.locust_internals import listeners_of
from geventecho.loadtest.measure.account import ABORTS, Account, Failed, account_of, without_traceback
from geventecho.loadtest.measure.latencies import Sample, latencies_of
from geventecho.loadtest.measure.samples import show_sample
from geventecho.loadtest.measure.seconds import NANOSECONDS
from geventecho.loadtest.measure.tally import MILLISECOND, counter_of

__all__ = ["RECEIVE", "SEND", "TCP", "TRANSACTION", "Reporter"]

TCP: Final = "TCP"
TRANSACTION: Final = "TRANSACTION"


class Direction(Enum):
    """How an operation uses its connection. This determines which times of the connection belong to the operation."""

    EXCHANGE = "sends, and receives the reply"
    SEND = "sends only, or connects"
    RECEIVE = "receives only"


EXCHANGE, SEND, RECEIVE = Direction


class Reporter:
    """Counts a user's operations, and fires Locust's `request` event for each operation that was not aborted.

    If Locust's own counter is the only listener of the event, a success fires no event and is kept for that counter.

    Args:
        user: the user of the operations.
        succeeded: called after each success.
        on_error: a weak reference to a method that takes the error that ended an operation of `perform`. The reporter
            calls it before it reports the operation, because a listener may raise.

    Attributes:
        account: the account of the process. The caller adds an operation to `started`, and ends it by `ok` or `ended`.
        planned: the planned instant of the task, as time.perf_counter_ns() counts. None without a plan, and after the
            first operation of the task has begun.
    """

    __slots__ = (
        "_bytes_received",
        "_bytes_sent",
        "_connected_at",
        "_counter",
        "_environment",
        "_fire",
        "_has_context",
        "_listeners",
        "_on_error",
        "_rows",
        "_succeeded",
        "_traffic",
        "_user",
        "account",
        "planned",
    )

    def __init__(
        self, user: User, succeeded: Callable[[], None], on_error: WeakMethod[Callable[[BaseException], None]]
    ) -> None:
        self._user = user
        self._succeeded = succeeded
        self._on_error = on_error
        self._has_context = user.__class__.context is not User.context  # also right for a weak proxy of a user
        environment = self._environment = user.environment
        self._fire: Callable[..., None] = environment.events.request.fire
        self._listeners: list[Any] = listeners_of(environment.events.request)
        self.account: Account = account_of(environment)
        latencies = latencies_of(environment)
        self._rows = latencies.rows
        self._counter = counter_of(environment, latencies.count)
        self._follow(Traffic())
        self.planned: int | None = None

    def connected(self, client: Client) -> None:
        """Measure the following operations on this client, which has just connected."""
        self._follow(client.traffic)

    def _follow(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._bytes_sent = self._bytes_received = 0  # bytes that are already counted for an operation
        self._connected_at = perf_counter_ns()

    def begin(self) -> int:
        """Count an operation as started, and return its beginning. It may be the planned instant of the task."""
        self.account.started += 1
        self._traffic.sent_at = 0
        planned = self.planned
        if planned is None:
            return perf_counter_ns()
        self.planned = None
        return planned

    def perform(
        self,
        name: str,
        context: dict[str, Any] | None,
        operation: Callable[[Any], Payload],
        argument: Any,
        direction: Direction = EXCHANGE,
    ) -> Payload:
        """Do one operation and return its result. It takes one argument: `*args` would double the cost of the call.

        Raises:
            Failed: the operation failed by a `NetworkError`. Any other error is raised unchanged.
        """
        begun = self.begin()
        try:
            reply = operation(argument)
        except BaseException as error:
            if on_error := self._on_error():
                on_error(error)
            self.ended(name, context, self.sample_until_now(begun, self._traffic.sent_at), error)
            if isinstance(error, NetworkError):
                raise Failed(error) from error
            raise
        self.ok(name, context, self.sample(begun, direction), reply)
        return reply

    def sample(self, begun: int, direction: Direction = EXCHANGE) -> Sample:
        """The instants and bytes of the operation that has just succeeded.

        Args:
            begun: the beginning of the operation.
            direction: the operation's use of the connection.
        """
        traffic = self._traffic
        bytes_sent, bytes_received = traffic.bytes_sent, traffic.bytes_received
        sent_now, received_now = bytes_sent - self._bytes_sent, bytes_received - self._bytes_received
        self._bytes_sent, self._bytes_received = bytes_sent, bytes_received
        sent, arrived = traffic.sent_at, traffic.arrived_at
        if direction is EXCHANGE and begun <= sent < arrived:
            return begun, sent, traffic.first_at, arrived, traffic.read_at, sent_now, received_now
        read = traffic.read_at
        if direction is SEND or (direction is EXCHANGE and not sent):  # an empty payload is not sent
            arrived, read = perf_counter_ns(), 0
        elif direction is RECEIVE:
            sent = 0
            if arrived < begun and (arrived or not read):  # the reply had arrived before the operation began
                arrived, read = begun, 0
        else:
            arrived, read = 0, read or perf_counter_ns()
        return begun, sent, arrived, arrived, read, sent_now, received_now

    def sample_until_now(self, begun: int, sent: int = 0) -> Sample:
        """The instants and bytes of an operation that ends now: by an error, or at the end of a block of operations.

        Args:
            begun: the beginning of the operation.
            sent: the instant of its send; 0 if nothing was sent.
        """
        traffic, now = self._traffic, perf_counter_ns()
        bytes_sent, bytes_received = traffic.bytes_sent, traffic.bytes_received
        sent_now, received_now = bytes_sent - self._bytes_sent, bytes_received - self._bytes_received
        self._bytes_sent, self._bytes_received = bytes_sent, bytes_received
        return begun, sent, now, now, 0, sent_now, received_now

    def exclude_bytes(self, bytes_sent: int, bytes_received: int) -> None:
        """Exclude bytes from the next sample, because a sample that was made elsewhere has them."""
        self._bytes_sent += bytes_sent
        self._bytes_received += bytes_received

    def ok(self, name: str, context: dict[str, Any] | None, sample: Sample, reply: Payload, kind: str = TCP) -> None:
        """Report a success.

        Args:
            name: the name of the row.
            context: the call's addition to the user's context.
            sample: the instants and bytes of the operation.
            reply: the bytes of the reply.
            kind: the type of the row.
        """
        self.account.ok += 1
        self._succeeded()
        row = self._rows[kind, name]
        begun, arrived, listeners = sample[0], sample[3], self._listeners
        if not arrived:
            row.add_without_arrival(sample)
            arrived = sample[4]
        elif len(listeners) == 1 and listeners[0] is self._counter:
            row.add(sample, len(reply))
            return
        else:
            row.add(sample)
        self._fire(
            request_type=kind,
            name=row.key[1],
            response_time=(arrived - begun) / MILLISECOND,
            response_length=len(reply),
            response=reply,
            context=self._context(context),
            exception=None,
            start_time=_wall_time(begun),
        )

    def ended(
        self, name: str, context: dict[str, Any] | None, sample: Sample, error: BaseException, kind: str = TCP
    ) -> None:
        """Report an operation that an error ended: one of `ABORTS` aborts it, any other error fails it."""
        if isinstance(error, ABORTS):
            self.account.aborted += 1
            if sample[5] or sample[6]:
                self._rows[kind, name].add_aborted(sample)
            return
        self.account.failed += 1
        row = self._rows[kind, name]
        row.add_failed(sample)
        failed = error if isinstance(error, Failed) else Failed(error)
        # Locust keeps the first failure of each kind for the whole test, so it gets a copy. The task gets the error
        # itself, and the traceback shows the tester where it was raised.
        failure = Failed(without_traceback(failed.error), failed.kind)
        self._fire(
            request_type=kind,
            name=row.key[1],
            # With None, average and percentiles leave failures out: a timeout is not a response time.
            response_time=None,
            response_length=0,
            response=None,
            context=self._context(context),
            exception=failure,
            start_time=_wall_time(sample[0]),
        )
        age = (perf_counter_ns() - self._connected_at) / NANOSECONDS
        show_sample(self.account.samples, self._environment.stats.errors, row.key, failure, age)

    def _context(self, extra: dict[str, Any] | None) -> dict[str, Any]:
        own: dict[str, Any] = self._user.context() if self._has_context else {}
        return {**own, **extra} if extra else own


def _wall_time(counted: int) -> float:
    """Convert an instant of time.perf_counter_ns() to seconds since the epoch."""
    return time() - (perf_counter_ns() - counted) / NANOSECONDS
