"""The three ends of an operation, and their counts.

An operation ends in one of three ways. If it is *ok* or *failed*, it fires one `request` event. If the test or the user
is stopped during the operation, the operation is *aborted* and fires no event: otherwise every stopped run would have
failures. In the `Account` of the process, started = ok + failed + aborted.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import time
from typing import Final
from weakref import WeakKeyDictionary

from gevent import GreenletExit
from locust.env import Environment
from locust.exception import InterruptTaskSet, RescheduleTask, RescheduleTaskImmediately, StopTest, StopUser

from geventecho.errors import ClosedByPeer, ConnectTimeout, GeventechoError, PeerReset, ShortReply, Truncated

__all__ = ["ABORTS", "Account", "Failed", "account_of", "leaves_task", "without_traceback"]

ABORTS: Final = (GreenletExit, StopUser, StopTest, KeyboardInterrupt, SystemExit)
"""Exceptions that abort an operation. They are not failures. Locust ends users with the first three."""
ENDED_BY_PEER: Final = (ClosedByPeer, PeerReset, ShortReply, Truncated)
LEAVES: Final = (RescheduleTask, RescheduleTaskImmediately, InterruptTaskSet)


class Failed(RescheduleTask):
    """Raised after an operation failed and was reported. Unless the task catches it, the task ends silently.

    Its text is the kind of the failure, without addresses and offsets. Locust groups failures by their text, so a
    thousand refused users are one line.

    Args:
        error: the error.
        kind: the kind of the failure; by default the error's own kind, or its type and text.

    Attributes:
        kind: the kind of the failure, such as "refused" or "read timeout".
        error: the full error, with address, phase and offset.
    """

    def __init__(self, error: BaseException, kind: str = "") -> None:
        named = error.kind if isinstance(error, GeventechoError) else f"{type(error).__name__}: {error}"
        self.kind: str = (kind or named).encode(errors="backslashreplace").decode()  # Locust encodes it as UTF-8
        self.error = error
        super().__init__(self.kind)

    def __repr__(self) -> str:
        return self.kind


def leaves_task(error: BaseException) -> bool:
    """Whether a task raised an exception to leave a task set, as Locust's `interrupt` does. This is not a failure."""
    return isinstance(error, LEAVES) and not isinstance(error, Failed)


def without_traceback(error: BaseException) -> BaseException:
    """A copy of an error without traceback, cause and context, so that it keeps no frame alive."""
    kind = type(error)
    try:
        copied = kind.__new__(kind, *error.args)  # the arguments of __init__ are not known
        copied.args = error.args
        vars(copied).update(vars(error))
        if isinstance(error, OSError) and isinstance(copied, OSError):
            for name in ("errno", "strerror", "filename", "filename2"):  # vars() does not have these
                if (value := getattr(error, name)) is not None:
                    setattr(copied, name, value)
    except Exception:  # an exception class of the tester may forbid any of these steps
        return GeventechoError(str(error))
    return copied


class Account:
    """The operations of one process's users in the test so far. Between operations, started = ok + failed + aborted.

    Attributes:
        started, ok, failed, aborted: numbers of operations.
        connects: connects among `started`.
        connected: connects, greetings and TLS handshakes among `ok`.
        reconnects: connects that were not the first of their user.
        open: open connections; a loss counts once it is noticed.
        opening: connects under way.
        lost: open connections that ended without a close by their user.
        connections: established connections.
        given_up: connects that were aborted or timed out. The server may have accepted some of them.
        bytes_sent, bytes_received: bytes of the connections that have ended.
        bytes_under_way: bytes of `bytes_sent` that were unanswered when this side closed the connection, or when the
            server closed it without any answer.
        peak: the most connects that started within one second of the clock.
        users: the number of users that were made so far.
        planned, sent, late, dropped: tasks with a planned instant, see `Planner`; planned = sent + dropped, and `sent`
            includes `late`.
        waited: instants that fell due while every user was busy.
        waiting: instants of `waited` that still wait for a user; `dropped` includes them until a user takes them.
        pausing: users that wait now before they connect again.
        samples: the samples of wrong replies that were shown, see samples.py.
    """

    NUMBERS = (
        "aborted", "bytes_received", "bytes_sent", "bytes_under_way", "connected", "connections", "connects",
        "dropped", "failed", "given_up", "late", "lost", "ok", "open", "opening", "peak", "planned", "reconnects",
        "sent", "started", "users", "waited", "waiting",
    )  # fmt: skip
    __slots__ = (*NUMBERS, "_second", "_connects_in_second", "pausing", "samples")

    def __init__(self) -> None:
        self.clear()

    def __repr__(self) -> str:
        return f"Account(started={self.started}, ok={self.ok}, failed={self.failed}, aborted={self.aborted})"

    def clear(self) -> None:
        """Set all counts to 0."""
        self.started = self.ok = self.failed = self.aborted = self.users = 0
        self.connects = self.connected = self.reconnects = self.peak = 0
        self.open = self.opening = self.lost = self.connections = self.given_up = 0
        self.bytes_sent = self.bytes_received = self.bytes_under_way = 0
        self.planned = self.sent = self.late = self.dropped = self.waited = self.waiting = 0
        self._second = self._connects_in_second = self.pausing = 0
        self.samples: dict[tuple[str, str, str], str] = {}

    def begin_connect(self, *, is_first: bool) -> None:
        """Count a connect that starts.

        Args:
            is_first: whether it is the first connect of its user.
        """
        second = int(time())
        if second != self._second:
            self._second, self._connects_in_second = second, 0
        self._connects_in_second += 1
        self.connects += 1
        self.reconnects += not is_first
        self.peak = max(self.peak, self._connects_in_second)

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """Count a connect as under way during the block, and the connection as open after the block."""
        self.opening += 1
        try:
            yield
        except (ConnectTimeout, *ABORTS):
            self.given_up += 1
            raise
        finally:
            self.opening -= 1
        self.open += 1
        self.connections += 1

    def end_connection(self, sent: int, received: int, error: BaseException | None) -> None:
        """Count a connection that ends.

        Args:
            sent, received: the bytes of the connection.
            error: the error that ended the connection, if any.
        """
        self.open -= 1
        self.bytes_sent += sent
        self.bytes_received += received
        reason = error.error if isinstance(error, Failed) else error
        if not received or not isinstance(reason, ENDED_BY_PEER):
            self.bytes_under_way += max(0, sent - received)

    def numbers(self) -> dict[str, int]:
        """All counts by name."""
        return {name: getattr(self, name) for name in self.NUMBERS}


_accounts: WeakKeyDictionary[Environment, Account] = WeakKeyDictionary()


def account_of(environment: Environment) -> Account:
    """The account of this process's users in an environment; each test resets it.

    Once every user has stopped, `started` is the sum of `ok`, `failed` and `aborted`.
    """
    account = _accounts.get(environment)
    if account is None:
        account = _accounts[environment] = Account()
        environment.events.test_start.add_listener(lambda **_: _accounts[environment].clear())
    return account
