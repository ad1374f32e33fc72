"""Reporter: one operation, one event."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, time
from typing import Any, Final

from locust import User

from geventecho.client import Payload
from geventecho.errors import NetworkError
from geventecho.loadtest.account import ABORTS, Account, Failed, account_of

__all__ = ["TCP", "TRANSACTION", "Reporter"]

TCP: Final = "TCP"
TRANSACTION: Final = "TRANSACTION"


class Reporter:
    """Counts a user's operations, and fires Locust's `request` event for each that was not aborted.

    Args:
        user: whose they are.
        lose: is called with what ended an operation of `perform`, after it was reported.

    Attributes:
        account: the process's; whoever starts an operation adds it to `started` and ends it by `ok` or `ended`.
        answered: whether an operation succeeded since somebody made this False.
    """

    __slots__ = ("_fire", "_has_context", "_lose", "_user", "account", "answered")

    def __init__(self, user: User, lose: Callable[[BaseException], None]) -> None:
        self._user = user
        self._lose = lose
        self.answered = False
        self._has_context = type(user).context is not User.context
        self._fire: Callable[..., None] = user.environment.events.request.fire
        self.account: Account = account_of(user.environment)

    def perform(
        self, name: str, context: dict[str, Any] | None, operation: Callable[[Any], Payload], argument: Any
    ) -> Payload:
        """Do one and return what it returned. It is called with one argument: any number would cost twice the call.

        Raises:
            Failed: it failed by a `NetworkError`. Any other error is raised as it is.
        """
        account = self.account
        account.started += 1
        wall = time()
        begun = perf_counter()
        try:
            reply = operation(argument)
        except BaseException as error:
            self.ended(name, context, wall, error)
            self._lose(error)
            if isinstance(error, NetworkError):
                raise Failed(error) from error
            raise
        elapsed = (perf_counter() - begun) * 1000.0
        # `ok`, in place: this is what a flat-out test spends its time on.
        account.ok += 1
        self.answered = True
        self._fire(
            request_type=TCP,
            name=name,
            response_time=elapsed,
            response_length=len(reply),
            response=reply,
            context=self._context(context) if context or self._has_context else {},
            exception=None,
            start_time=wall,
        )
        return reply

    def ok(
        self, name: str, context: dict[str, Any] | None, wall: float, elapsed: float, reply: Payload, kind: str = TCP
    ) -> None:
        """It succeeded.

        Args:
            name: its row.
            context: what the call adds to the user's context.
            wall: when it started, in seconds since the epoch.
            elapsed: milliseconds it took.
            reply: what came back.
            kind: the row's type.
        """
        self.account.ok += 1
        self.answered = True
        self._fire(
            request_type=kind,
            name=name,
            response_time=elapsed,
            response_length=len(reply),
            response=reply,
            context=self._context(context),
            exception=None,
            start_time=wall,
        )

    def ended(
        self, name: str, context: dict[str, Any] | None, wall: float, error: BaseException, kind: str = TCP
    ) -> None:
        """An error ended it: it failed, or it was aborted by what ends users."""
        if isinstance(error, ABORTS):
            self.account.aborted += 1
            return
        self.account.failed += 1
        # A fresh one, without traceback: Locust keeps the first of each kind for the whole test.
        failure = Failed(error.error, error.kind) if isinstance(error, Failed) else Failed(error)
        failure.error.with_traceback(None)
        self._fire(
            request_type=kind,
            name=name,
            # None keeps failures out of average and percentiles: a timeout is not a response time.
            response_time=None,
            response_length=0,
            response=None,
            context=self._context(context),
            exception=failure,
            start_time=wall,
        )

    def _context(self, extra: dict[str, Any] | None) -> dict[str, Any]:
        own: dict[str, Any] = self._user.context() if self._has_context else {}
        return {**own, **extra} if extra else own
