"""TcpUser: a Locust user with one TCP connection."""

from __future__ import annotations

import random
import weakref
from collections.abc import Iterator
from functools import cached_property, partial
from typing import Final

from gevent import Greenlet
from gevent.pool import Group
from locust import User
from locust.env import Environment
from locust.exception import StopTest

from geventecho.client import DEFAULT_TLS, TlsLike, check_tls, connect
from geventecho.errors import GeventechoError
from geventecho.loadtest.locust_internals import forget_tasks, run_user
from geventecho.loadtest.measure import Failed, account_of
from geventecho.loadtest.settings import Settings, options_of, target_of
from geventecho.loadtest.users.backoff import Backoff, pause
from geventecho.loadtest.users.payloads import distinct_payloads
from geventecho.loadtest.users.planned_loop import PlannedLoop
from geventecho.loadtest.users.planner import has_plan
from geventecho.loadtest.users.session import TcpSession
from geventecho.loadtest.users.spawning import SPAWNED_USERS, Burst
from geventecho.loadtest.users.task_loop import TaskLoop
from geventecho.net import ProxyVersion

__all__ = ["TcpUser", "tcp_users_of"]

USAGE_ERROR: Final = 2
# The size of each worker's range of user numbers.
USERS_PER_WORKER: Final = 1_000_000


class TcpUser(User):
    """A user with one TCP connection, `self.client`. Subclass it and write tasks.

    The user connects when it starts, closes when it ends, and connects again after a loss. Each operation of the client
    is one request or one failure in Locust's statistics.

    Attributes:
        host: the target: ``tcp://host:port``, ``host:port``, ``tls://host:port`` or ``unix:/path``.
            Locust's --host and the host field override it.
        client: the connection, a `TcpSession`.
        number: the user's number in the test: from 0 on the first worker, from 1,000,000 on the second, and so on.
        payload_size: bytes of each `next_payload()`.
        think_time: mean time between two tasks in seconds, see `wait_time`; 0 is no pause.
        connect_timeout: seconds to resolve the name, connect, and shake hands with TLS; None is no limit.
        request_timeout: seconds for each operation without its own `timeout`; None is no limit.
        proxy_protocol: the version of the PROXY header at the start of each connection, "v1" or "v2"; None is no
            header.
        tls: a `geventecho.Tls` or an ssl.SSLContext, for a host tls://host:port and for `client.start_tls`.
        settings: the values of the six attributes above for this user. An option such as --tcp-payload-size overrides
            its attribute; the TLS options override fields of a `Tls`.
        backoff_base: the longest pause before a connect after a first failure, in seconds; doubled with each further
            failure.
        backoff_cap: the longest pause before a connect after any number of failures, in seconds.
    """

    abstract = True
    payload_size: int = 1024
    think_time: float = 1.0
    connect_timeout: float | None = 5.0
    request_timeout: float | None = 5.0
    proxy_protocol: ProxyVersion | None = None
    tls: TlsLike = DEFAULT_TLS
    backoff_base: float = 1.0
    backoff_cap: float = 10.0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        try:
            target = target_of(self.host)
            self.settings = Settings.of(options_of(environment), self)
            if target.scheme == "tls":
                check_tls(self.settings.tls, target)
        except GeventechoError as error:
            environment.process_exit_code = USAGE_ERROR
            raise StopTest(str(error)) from None
        # The user references the session, and the session gets a weak proxy of the user: only the cycle collector
        # would free a reference cycle.
        me = weakref.proxy(self)
        settings = self.settings
        dial = partial(
            connect,
            timeout=settings.request_timeout,
            connect_timeout=settings.connect_timeout,
            timed=True,
            proxy_protocol=settings.proxy_protocol,
            tls=settings.tls if target.scheme == "tls" else None,
            handshake=False,
        )
        self.client = TcpSession(
            me,
            target,
            connect_timeout=settings.connect_timeout,
            request_timeout=settings.request_timeout,
            dial=dial,
            tls=settings.tls,
            backoff=Backoff(me, self.backoff_base, self.backoff_cap),
            on_connect=lambda: me.on_connect(),  # noqa: PLW0108  (a bound method would reference the user)
        )
        self.number = _number(environment)
        self._burst = Burst()  # locust.run_single_user does not call `start`

    def start(self, group: Group) -> Greenlet:
        """Start the user; Locust calls it."""
        self._burst = SPAWNED_USERS.add()
        greenlet: Greenlet = super().start(group)
        # on_stop is not enough: a subclass may replace it, and it is not called for a user that fails to start.
        greenlet.link(self._after_end)
        return greenlet

    def run(self) -> None:  # type: ignore[misc]  # final, but Locust's own PytestUser overrides it, too
        """Run the user, in our task loop if this Locust allows it; Locust calls it."""
        if not run_user(self, PlannedLoop if has_plan(self.environment) else TaskLoop):
            super().run()  # type: ignore[no-untyped-call]

    def _after_end(self, _: Greenlet) -> None:
        self.client.close()
        forget_tasks(self)
        SPAWNED_USERS.remove(self)

    def on_start(self) -> None:
        """Connect. A failure is reported like any other failure, and the first task tries again."""
        SPAWNED_USERS.end_burst()
        pause(self, self._burst.delay())
        try:
            self.client.connect()
        except Failed:
            pass

    def on_connect(self) -> None:
        """Log in. It is called after every connect, reconnects included. A failure closes the connection."""

    def wait_time(self) -> float:
        """Return the seconds to the next task: uniformly random from half to one and a half times the think time.

        With a constant time, users that once waited together in the server's queue would always send together, and
        measure this queue.
        """
        mean = self.settings.think_time
        return mean and mean * (0.5 + random.random())  # noqa: S311

    def next_payload(self) -> bytes:
        """Return a payload of `settings.payload_size` bytes that differs from all other payloads of all users."""
        return next(self._payloads)

    @cached_property
    def _payloads(self) -> Iterator[bytes]:
        return distinct_payloads(self.settings.payload_size)


def _number(environment: Environment) -> int:
    account = account_of(environment)
    account.users += 1
    worker: int = getattr(environment.runner, "worker_index", 0)
    return max(worker, 0) * USERS_PER_WORKER + account.users - 1


def tcp_users_of(environment: Environment) -> list[type[TcpUser]]:
    """The user classes of an environment that are TcpUsers."""
    return [user_class for user_class in environment.user_classes if issubclass(user_class, TcpUser)]
