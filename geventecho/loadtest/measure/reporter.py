"""Reporter: one operation, one event."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, time
from typing import Any, Final
from weakref import WeakMethod

from locust import User

from geventecho.client import Payload
from geventecho.errors import NetworkError
from geventecho.loadtest.locust_internals import listeners_of
from geventecho.loadtest.measure.account import ABORTS, Account, Failed, account_of, without_traceback
from geventecho.loadtest.measure.samples import show_sample
from geventecho.loadtest.measure.tally import counter_of, log_request

__all__ = ["TCP", "TRANSACTION", "Reporter"]

TCP: Final = "TCP"
TRANSACTION: Final = "TRANSACTION"


class Reporter:
    """Counts a user's operations, and fires Locust's `request` event for each that was not aborted.

    While nobody but Locust's own count listens to the event, a success is counted without it. To pass eight arguments
    by name through two functions took as long as the count.

    Args:
        user: does the operations.
        succeeded: is called after each success.
        lose: a weak reference to a method. The method is called with the error that ended an operation of `perform`,
            before the operation is reported, because a listener may raise.

    Attributes:
        account: the process's. The caller adds an operation to `started` and ends it by `ok` or `ended`.
        connected_at: when the last connection was made, as time.perf_counter() has it.
        planned: the instant at which the task should have begun, as time.perf_counter() has it. It is None without a
            plan, and once the task's first operation has begun.
    """

    __slots__ = (
        "_counter",
        "_environment",
        "_fire",
        "_has_context",
        "_listeners",
        "_lose",
        "_succeeded",
        "_user",
        "account",
        "connected_at",
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
        self._counter = counter_of(environment)
        self.account: Account = account_of(environment)
        self.connected_at = perf_counter()
        self.planned: float | None = None

    def begin(self) -> float:
        """Count an operation as started, and return its beginning, which may be the planned instant of the task."""
        self.account.started += 1
        planned = self.planned
        if planned is None:
            return perf_counter()
        self.planned = None
        return planned

    def perform(
        self, name: str, context: dict[str, Any] | None, operation: Callable[[Any], Payload], argument: Any
    ) -> Payload:
        """Do one operation and return its result. It is called with one argument: any number would cost twice the call.

        Raises:
            Failed: it failed by a `NetworkError`. Any other error is raised as it is.
        """
        begun = self.begin()
        try:
            reply = operation(argument)
        except BaseException as error:
            if lose := self._lose():
                lose(error)
            self.ended(name, context, begun, error)
            if isinstance(error, NetworkError):
                raise Failed(error) from error
            raise
        self.ok(name, context, begun, reply)
        return reply

    def ok(
        self,
        name: str,
        context: dict[str, Any] | None,
        begun: float,
        reply: Payload,
        kind: str = TCP,
        over: float | None = None,
    ) -> None:
        """It succeeded.

        Args:
            name: its row.
            context: the call's addition to the user's context.
            begun: when it started, as time.perf_counter() has it.
            reply: the bytes that came back.
            kind: the row's type.
            over: when it was over, where that is not now.
        """
        elapsed = ((perf_counter() if over is None else over) - begun) * 1000.0
        self.account.ok += 1
        self._succeeded()
        listeners = self._listeners
        if len(listeners) == 1 and listeners[0] is self._counter:
            log_request(self._environment.stats, kind, name, elapsed, len(reply))
            return
        self._fire(
            request_type=kind,
            name=name,
            response_time=elapsed,
            response_length=len(reply),
            response=reply,
            context=self._context(context),
            exception=None,
            start_time=_wall(begun),
        )

    def ended(
        self, name: str, context: dict[str, Any] | None, begun: float, error: BaseException, kind: str = TCP
    ) -> None:
        """An error ended it: it failed, or it was aborted by one of `ABORTS`."""
        if isinstance(error, ABORTS):
            self.account.aborted += 1
            return
        self.account.failed += 1
        failed = error if isinstance(error, Failed) else Failed(error)
        # A copy, because Locust keeps the first of each kind for the whole test. The error itself goes on to the task,
        # and its traceback shows the tester where it was raised.
        failure = Failed(without_traceback(failed.error), failed.kind)
        self._fire(
            request_type=kind,
            name=name,
            # None keeps failures out of average and percentiles: a timeout is not a response time.
            response_time=None,
            response_length=0,
            response=None,
            context=self._context(context),
            exception=failure,
            start_time=_wall(begun),
        )
        age = perf_counter() - self.connected_at
        show_sample(self.account.samples, self._environment.stats.errors, (kind, name), failure, age)

    def _context(self, extra: dict[str, Any] | None) -> dict[str, Any]:
        own: dict[str, Any] = self._user.context() if self._has_context else {}
        return {**own, **extra} if extra else own


def _wall(counted: float) -> float:
    """The seconds since the epoch at which time.perf_counter() showed that."""
    return time() - (perf_counter() - counted)
