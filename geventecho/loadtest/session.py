"""TcpSession: the client that reports each operation to Locust, once.

An operation ends in one of three ways. It is *ok* or *failed*, and fires one `request` event; or it is *aborted*, cut
off because the test or the user was stopped, and fires none: otherwise every stopped run would have failed. So
started = ok + failed + aborted, in the `Account` of the process.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from time import perf_counter
from types import EllipsisType
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

import gevent
from gevent import GreenletExit
from locust.env import Environment
from locust.exception import RescheduleTask, StopTest, StopUser
from locust.user.task import LOCUST_STATE_RUNNING, LOCUST_STATE_STOPPING, LOCUST_STATE_WAITING

from geventecho.address import Address
from geventecho.client import Client, Payload, connect
from geventecho.errors import ClosedLocally, GeventechoError

__all__ = ["Account", "Failed", "TcpSession", "account_of", "rest"]

REQUEST_TYPE: Final = "TCP"
# What stops an operation without its being anybody's failure: Locust ends users with the first three.
ABORTS: Final = (GreenletExit, StopUser, StopTest, KeyboardInterrupt, SystemExit)


class Failed(RescheduleTask):
    """Raised when an operation failed and was reported; it ends the task, quietly, unless the task catches it.

    It prints as the kind of the failure, without addresses and offsets, because Locust groups failures by what they
    print: a thousand users who were refused are one line.

    Attributes:
        kind: "refused", "read timeout", …
        error: the full error, with address, phase and offset.
    """

    def __init__(self, error: BaseException) -> None:
        self.kind: str = error.kind if isinstance(error, GeventechoError) else f"{type(error).__name__}: {error}"
        self.error = error
        super().__init__(self.kind)

    def __repr__(self) -> str:
        return self.kind


class Account:
    """What the users of one process did in the test so far; at rest, started = ok + failed + aborted."""

    __slots__ = ("aborted", "failed", "ok", "started")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Begin anew."""
        self.started = self.ok = self.failed = self.aborted = 0


_accounts: WeakKeyDictionary[Environment, Account] = WeakKeyDictionary()


def account_of(environment: Environment) -> Account:
    """The account of this process's users in an environment."""
    account = _accounts.get(environment)
    if account is None:
        account = _accounts[environment] = Account()
    return account


class Owner(Protocol):
    """What a session needs of its user."""

    environment: Environment
    backoff_base: float
    backoff_cap: float
    _state: Any

    def context(self) -> dict[str, Any]:
        """Locust's context of the user's requests."""

    def on_connect(self) -> None:
        """Log in."""


class TcpSession:
    """One user's connection, and the reporting of what is done with it.

    It connects when it is first needed and again after a loss. A lost connection is the failure of the operation that
    met it; the next operation connects anew, after a pause that grows with each failure in a row and is random all over
    its length, so that the users of a server that went away do not come back in step.

    Args:
        owner: the user.
        target: where to connect.
        connect_timeout: seconds to resolve the name and connect.
        request_timeout: seconds for one operation; each may be given its own.
    """

    def __init__(self, owner: Owner, target: Address, *, connect_timeout: float, request_timeout: float) -> None:
        self.target = target
        self._owner = owner
        self._connect_timeout = connect_timeout
        self._request_timeout = request_timeout
        self._fire: Callable[..., None] = owner.environment.events.request.fire
        self._account = account_of(owner.environment)
        self._client: Client | None = None
        self._failures = 0
        self._connecting = False

    @property
    def connected(self) -> bool:
        """Whether there is a connection, as far as was noticed."""
        return self._client is not None

    def connect(self) -> None:
        """Connect now, and log in (`TcpUser.on_connect`). Reported as `connect`; an open connection is closed first.

        Raises:
            Failed: it was reported; `error` is a `geventecho.errors.ConnectError`, or what the login met.
        """
        self.close()
        self._connecting = True
        try:
            self._perform("connect", None, self._open)
            self._log_in()
        finally:
            self._connecting = False

    def echo(
        self,
        payload: Payload,
        *,
        name: str = "echo",
        timeout: float | EllipsisType | None = ...,
        context: dict[str, Any] | None = None,
    ) -> Payload:
        """Send a payload and compare every byte that comes back.

        Args:
            payload: what to send.
            name: the row it is reported in.
            timeout: seconds for the whole exchange; None has no limit; the session's when left out.
            context: added to the event's context.

        Returns:
            The payload.

        Raises:
            Failed: it was reported; `error` says what happened.
        """
        client = self._client or self._reconnect()
        echo = client.echo if timeout is ... else partial(client.echo, timeout=timeout)
        self._perform(name, context, echo, payload)
        self._failures = 0
        return payload

    def close(self) -> None:
        """Close the connection, if there is one. Reports nothing."""
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _open(self) -> bytes:
        self._client = connect(self.target, timeout=self._request_timeout, connect_timeout=self._connect_timeout)
        return b""

    def _log_in(self) -> None:
        try:
            self._owner.on_connect()
        except (Failed, *ABORTS):
            self._lose()
            raise
        except Exception as error:
            # Not an operation that was reported: a row of its own, as every failure is.
            self._account.started += 1
            self._end("on_connect", None, time.time(), error)
            raise Failed(error) from error

    def _reconnect(self) -> Client:
        if self._connecting:
            lost = ClosedLocally("the connection was lost during the login", address=self.target, phase="write")
            raise Failed(lost)
        if self._failures:
            ceiling = min(self._owner.backoff_cap, self._owner.backoff_base * 2.0 ** min(self._failures - 1, 32))
            rest(self._owner, random.random() * ceiling)  # noqa: S311
        self.connect()
        assert self._client is not None  # noqa: S101
        return self._client

    def _perform(
        self, name: str, context: dict[str, Any] | None, operation: Callable[..., Payload], *arguments: Any
    ) -> Payload:
        account = self._account
        account.started += 1
        wall = time.time()
        begun = perf_counter()
        try:
            reply = operation(*arguments)
        except BaseException as error:
            self._end(name, context, wall, error)
            if isinstance(error, GeventechoError):
                raise Failed(error) from error
            raise
        elapsed = (perf_counter() - begun) * 1000.0
        account.ok += 1
        own = self._owner.context()
        self._fire(
            request_type=REQUEST_TYPE,
            name=name,
            response_time=elapsed,
            response_length=len(reply),
            response=reply,
            context={**own, **context} if context else own,
            exception=None,
            start_time=wall,
        )
        return reply

    def _end(self, name: str, context: dict[str, Any] | None, wall: float, error: BaseException) -> None:
        """Count and report what did not succeed. The connection is in mid-operation: nobody could use it again."""
        self._lose()
        if isinstance(error, ABORTS):
            self._account.aborted += 1
            return
        self._account.failed += 1
        self._fire(
            request_type=REQUEST_TYPE,
            name=name,
            # None keeps failures out of average and percentiles: a timeout is not a response time.
            response_time=None,
            response_length=0,
            response=None,
            context={**self._owner.context(), **(context or {})},
            # A fresh one, without traceback: Locust keeps the first of each kind for the whole test.
            exception=Failed(error.with_traceback(None)),
            start_time=wall,
        )

    def _lose(self) -> None:
        self._failures += 1
        self.close()


def rest(user: Owner, seconds: float) -> None:
    """Sleep as Locust's own `wait` does: a user that is stopped meanwhile ends at once, whatever the stop timeout."""
    if user._state == LOCUST_STATE_STOPPING:
        raise StopUser
    user._state = LOCUST_STATE_WAITING
    gevent.sleep(seconds)
    if user._state == LOCUST_STATE_STOPPING:
        raise StopUser
    user._state = LOCUST_STATE_RUNNING
