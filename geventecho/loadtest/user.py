"""TcpUser: a Locust user with one TCP connection."""

from __future__ import annotations

import gc
import random
from collections.abc import Iterator
from functools import cached_property
from typing import Final

from gevent import Greenlet
from gevent.pool import Group
from locust import User
from locust.env import Environment
from locust.exception import StopTest

from geventecho.errors import GeventechoError
from geventecho.loadtest.options import Settings, target_of
from geventecho.loadtest.payload import distinct_payloads
from geventecho.loadtest.session import Failed, TcpSession, rest

__all__ = ["TcpUser"]

# Connects a second that one spawn may cause, see `Burst`.
BURST_RATE: Final = 1000.0
USAGE_ERROR: Final = 2


class Burst:
    """The users that were spawned at one stroke.

    Locust spawns floor(rate) users at once, then waits: at 1,000 a second, a thousand connects in the same millisecond.
    They would queue behind each other in this process, measure that queue as connect time, and go on in step. So each
    user waits first, for a random time within that which its burst takes at 1,000 a second, a second at most.
    """

    current: Burst | None = None

    def __init__(self) -> None:
        self.size = 0

    @classmethod
    def join(cls) -> Burst:
        """Be one of the current burst, which ends when its first user runs."""
        burst = cls.current
        if burst is None:
            burst = cls.current = cls()
        burst.size += 1
        return burst

    def delay(self) -> float:
        """Seconds for a user of the burst to wait before it connects."""
        if type(self).current is self:
            type(self).current = None
            # The users so far are there to stay until the test ends. The cycle collector would go through all of them
            # again and again, with 10,000 users for half a second at a time, in which nobody sends or receives.
            gc.freeze()
        return random.random() * min(1.0, self.size / BURST_RATE)  # noqa: S311


class TcpUser(User):
    """A user with one TCP connection, `self.client`; subclass it and write tasks.

    The connection is made when the user starts, closed when it ends, however it ends, and made again after a loss. Each
    operation of the client is one row, or one failure, in Locust's statistics.

    Attributes:
        host: the target: tcp://host:port, host:port or unix:/path. Locust's --host and host field win over it.
        client: the connection, a `TcpSession`.
        settings: --payload-size, --think-time and the timeouts.
        backoff_base: after a first failure the next connect waits up to this many seconds; it doubles with each more.
        backoff_cap: seconds it never exceeds.
    """

    abstract = True
    backoff_base: float = 1.0
    backoff_cap: float = 10.0

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        try:
            target = target_of(self.host)
            self.settings = Settings.of(environment)
        except GeventechoError as error:
            environment.process_exit_code = USAGE_ERROR
            raise StopTest(str(error)) from None
        self.client = TcpSession(
            self,
            target,
            connect_timeout=self.settings.connect_timeout,
            request_timeout=self.settings.request_timeout,
        )
        self._burst = Burst.join()
        self._waited = False

    def start(self, group: Group) -> Greenlet:
        """Start the user; Locust calls it."""
        greenlet: Greenlet = super().start(group)
        # Not in on_stop, which a subclass may replace, and which is not called for a user that fails to start.
        greenlet.link(lambda _: self.client.close())
        return greenlet

    def on_start(self) -> None:
        """Connect. A failure is reported as any other, and the first task tries again."""
        rest(self, self._burst.delay())
        try:
            self.client.connect()
        except Failed:
            pass

    def on_connect(self) -> None:
        """Log in: called after every connect, reconnects included. A failure here ends the connection again."""

    def wait_time(self) -> float:
        """Seconds to the next task: --think-time; the first time a random part of it, or users would go in step."""
        seconds = self.settings.think_time
        if self._waited:
            return seconds
        self._waited = True
        return seconds * random.random()  # noqa: S311

    def next_payload(self) -> bytes:
        """A payload of --payload-size bytes, unlike every other of this and of all other users."""
        return next(self._payloads)

    @cached_property
    def _payloads(self) -> Iterator[bytes]:
        return distinct_payloads(self.settings.payload_size)
