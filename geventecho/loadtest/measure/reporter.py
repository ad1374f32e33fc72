"""Reporter: one operation, one event."""

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
    """How an operation uses its connection. This decides which of the connection's times are its own."""

    EXCHANGE = "sends, and receives the reply"
    SEND = "sends only, or connects"
    RECEIVE = "receives only"


EXCHANGE, SEND, RECEIVE = Direction


class Reporter:
    """Counts a user's operations, and fires Locust's `request` event for each that was not aborted.

    If only Locust's own count listens to the event, a success fires nothing and is kept for that count.

    Args:
        user: does the operations.
        succeeded: is called after each success.
        lose: a weak reference to a method. It is called with the error that ended an operation of `perform`, before
            the operation is reported, because a listener may raise.

    Attributes:
        account: the process's. The caller adds an operation to `started` and ends it by `ok` or `ended`.
        planned: the instant at which the task should have begun, as time.perf_counter_ns() has it. It is None without a
            plan, and once the task's first operation has begun.
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
        "_lose",
        "_rows",
        "_succeeded",
        "_traffic",
        "_user",
        "account",
        "planned",
    )

    def __init__(
        self, user: User, succeeded: Callable[[], None], lose: WeakMethod[Callable[[BaseException], None]]
    ) -> None:
        self._user = user
        self._succeeded = succeeded
        self._lose = lose
        self._has_context = user.__class__.context is not User.context  # its class also if it is a proxy
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
        """The following operations are those of this client, which has just connected."""
        self._follow(client.traffic)

    def _follow(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._bytes_sent = self._bytes_received = 0  # those that operations have counted
        self._connected_at = perf_counter_ns()

    def begin(self) -> int:
        """Count an operation as started, and return its beginning, which may be the planned instant of the task."""
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
            Failed: it failed by a `NetworkError`. Any other error is raised as it is.
        """
        begun = self.begin()
        try:
            reply = operation(argument)
        except BaseException as error:
            if lose := self._lose():
                lose(error)
            self.ended(name, context, self.cut(begun, self._traffic.sent_at), error)
            if isinstance(error, NetworkError):
                raise Failed(error) from error
            raise
        self.ok(name, context, self.sample(begun, direction), reply)
        return reply

    def sample(self, begun: int, direction: Direction = EXCHANGE) -> Sample:
        """The times of the operation that has just succeeded, and its bytes.

        Args:
            begun: when it began.
            direction: its use of the connection.
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
            if arrived < begun and (arrived or not read):  # the reply was there already
                arrived, read = begun, 0
        else:
            arrived, read = 0, read or perf_counter_ns()
        return begun, sent, arrived, arrived, read, sent_now, received_now

    def cut(self, begun: int, sent: int = 0) -> Sample:
        """The times of an operation that ends now, by an error or because it is a whole block, and its bytes.

        Args:
            begun: when it began.
            sent: when it was sent; 0 if it was not.
        """
        traffic, now = self._traffic, perf_counter_ns()
        bytes_sent, bytes_received = traffic.bytes_sent, traffic.bytes_received
        sent_now, received_now = bytes_sent - self._bytes_sent, bytes_received - self._bytes_received
        self._bytes_sent, self._bytes_received = bytes_sent, bytes_received
        return begun, sent, now, now, 0, sent_now, received_now

    def settle(self, bytes_sent: int, bytes_received: int) -> None:
        """Do not count these bytes again: a sample that was made elsewhere has them."""
        self._bytes_sent += bytes_sent
        self._bytes_received += bytes_received

    def ok(self, name: str, context: dict[str, Any] | None, sample: Sample, reply: Payload, kind: str = TCP) -> None:
        """Report a success.

        Args:
            name: its row.
            context: the call's addition to the user's context.
            sample: its times and bytes.
            reply: the bytes that came back.
            kind: the row's type.
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
            start_time=_wall(begun),
        )

    def ended(
        self, name: str, context: dict[str, Any] | None, sample: Sample, error: BaseException, kind: str = TCP
    ) -> None:
        """Report an operation that an error ended: it failed, or one of `ABORTS` aborted it."""
        if isinstance(error, ABORTS):
            self.account.aborted += 1
            if sample[5] or sample[6]:
                self._rows[kind, name].add_aborted(sample)
            return
        self.account.failed += 1
        row = self._rows[kind, name]
        row.add_failed(sample)
        failed = error if isinstance(error, Failed) else Failed(error)
        # A copy, because Locust keeps the first of each kind for the whole test. The error itself goes on to the task,
        # and its traceback shows the tester where it was raised.
        failure = Failed(without_traceback(failed.error), failed.kind)
        self._fire(
            request_type=kind,
            name=row.key[1],
            # None keeps failures out of average and percentiles: a timeout is not a response time.
            response_time=None,
            response_length=0,
            response=None,
            context=self._context(context),
            exception=failure,
            start_time=_wall(sample[0]),
        )
        age = (perf_counter_ns() - self._connected_at) / NANOSECONDS
        show_sample(self.account.samples, self._environment.stats.errors, row.key, failure, age)

    def _context(self, extra: dict[str, Any] | None) -> dict[str, Any]:
        own: dict[str, Any] = self._user.context() if self._has_context else {}
        return {**own, **extra} if extra else own


def _wall(counted: int) -> float:
    """Convert an instant of time.perf_counter_ns() to seconds since the epoch."""
    return time() - (perf_counter_ns() - counted) / NANOSECONDS
