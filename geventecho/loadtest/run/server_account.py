"""Reads the counters of the server under test at the start and at the end of each test (--tcp-account)."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Collection
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from typing import Any, Final
from urllib.parse import urlsplit

import gevent
from locust.env import Environment

from geventecho.loadtest.run.accounts import Accounts
from geventecho.loadtest.settings import given, is_unattended, options_of
from geventecho.net import Deadline
from geventecho.results import ClientEnd, ServerAccount, ServerEnd, compare_ends, printable

__all__ = ["BothEnds"]

logger = logging.getLogger("geventecho.loadtest")

READ_TIMEOUT: Final = 3.0
"""Seconds for the reading at the start, and for all readings at the end."""
PAUSE: Final = 0.1
"""Seconds between two readings at the end. The page may be a second old."""
MAX_PAGE: Final = 1 << 20
"""The most bytes of a page."""
COUNTERS: Final = {
    "accepted": "geventecho_connections_accepted_total",
    "bytes_received": "geventecho_bytes_received_total",
    "bytes_sent": "geventecho_bytes_sent_total",
    "bytes_discarded": "geventecho_bytes_discarded_total",
    "bytes_lost": "geventecho_bytes_lost_total",
    "open": "geventecho_connections_open",
}
"""The names on the page for the fields of `ServerEnd`."""
UNDELIVERED: Final = "geventecho_bytes_undelivered_total"
"""Sent bytes that the kernel destroyed. They are also counted as lost, so `ServerEnd` does not count them as sent."""
STARTED: Final = "geventecho_start_time_seconds"
NAMES: Final = {*COUNTERS.values(), UNDELIVERED, STARTED}
Page = tuple[ServerEnd, float]
"""The counters and the start time of the server (Unix time); 0 if the page has no start time."""
SAMPLE: Final = re.compile(r"(\w+)(?:\{.*\})?[ \t]+(\S+)", re.ASCII)
"""A line of Prometheus's text format 0.0.4: name, labels, value, and optionally a time."""


class BothEnds:
    """The account of both ends of each test. It is read before the first user starts and after the last user has ended.

    Args:
        environment: Locust's environment.
        accounts: the accounts of all processes.
        incomplete: a function that returns the workers whose numbers are incomplete.

    Attributes:
        account: the account of the running or the last test; None without --tcp-account.
    """

    def __init__(self, environment: Environment, accounts: Accounts, incomplete: Callable[[], Collection[str]]) -> None:
        self._environment = environment
        self._accounts = accounts
        self._incomplete = incomplete
        self._is_begun = False
        self._before: Page | None = None
        self.account: ServerAccount | None = None
        environment.events.test_start.add_listener(self.on_test_start)
        environment.events.test_stop.add_listener(self.on_test_stop)
        if is_unattended(options_of(environment)):
            self.on_test_start()  # now: Locust's run time begins before `test_start`, and would include the reading

    def on_test_start(self, **_: Any) -> None:
        """Read the counters: a new test begins, and no user has started."""
        if self._is_begun:
            return
        self._before = self.account = None
        url = given(options_of(self._environment), "account")
        if url is not None:
            self._read_start(url)
        self._is_begun = True  # not before the reading: a second press of Start ends a start that still reads

    def _read_start(self, url: str) -> None:
        try:
            self._before = _read(url, READ_TIMEOUT)
            self.account = ServerAccount(url, unknown="the server's counters are read again at the end of the test")
        except _Unreadable as error:
            self.account = ServerAccount(url, unknown=f"at the start: {error}")
            logger.warning(
                "--tcp-account: %s: %s. The test runs without the server's account. "
                "`geventecho serve --metrics` prints the URL",
                url,
                error,
            )

    def on_test_stop(self, **_: Any) -> None:
        """Make the account: all users have stopped, and all workers have reported."""
        self._is_begun = False
        before, self._before = self._before, None
        if self.account is None or before is None:
            return
        url = self.account.url
        if self._incomplete():
            self.account = ServerAccount(url, unknown="a worker was lost with a part of the test's own counts")
        else:
            self.account = self._final_account(url, before)

    def _final_account(self, url: str, before: Page) -> ServerAccount:
        """The account after both ends have agreed twice in a row, or the last account when the time is over.

        Once is not enough: if another client has left, the last connection of the test may still be open.
        """
        sums = self._accounts.sums()
        client = ClientEnd(**{name: sums[name] for name in ClientEnd.__dataclass_fields__})
        account, deadline = ServerAccount(url), Deadline(READ_TIMEOUT)
        while not deadline.expired:
            try:
                after = _read(url, deadline.remaining())
                last, account = (
                    account,
                    compare_ends(url, client, before[0], after[0], is_restarted=before[1] != after[1]),
                )
                if not account.findings and account == last:
                    break
            except _Unreadable as error:
                if account.client is None:
                    account = ServerAccount(url, unknown=f"at the end: {error}")
            gevent.sleep(min(PAUSE, deadline.remaining()))
        return account


class _Unreadable(Exception):
    """Raised if the counters cannot be read; the text says why."""


def _read(url: str, seconds: float) -> Page:
    """Read a server's counters from its metrics.

    Args:
        url: the URL of the metrics, http://host:port/path.
        seconds: the time limit of the whole reading.

    Raises:
        _Unreadable: the page does not come in time, or has no such counters.
    """
    parts = urlsplit(url)
    try:
        with (
            gevent.Timeout(seconds, TimeoutError(f"no answer within {seconds:.2g} s")),
            closing(HTTPConnection(parts.hostname or "", parts.port)) as connection,
        ):
            connection.request("GET", parts.path, headers={"Accept": "text/plain", "Connection": "close"})
            with connection.getresponse() as answer:
                page = answer.read(MAX_PAGE + 1)
    except OSError as error:
        raise _Unreadable(printable(error.strerror or str(error))) from None
    except HTTPException as error:
        raise _Unreadable(f"the answer is not HTTP ({type(error).__name__})") from None
    if answer.status != HTTPStatus.OK:
        raise _Unreadable(f"the answer has the status {answer.status}")
    if len(page) > MAX_PAGE:
        raise _Unreadable(f"the page has more than {MAX_PAGE} bytes")
    return _counters(page.decode("utf-8", "replace"))


def _counters(page: str) -> Page:
    """The counters of a page. Samples of one name with different labels are added up."""
    if not page.endswith("\n"):
        raise _Unreadable("the page is cut off, or not in Prometheus's text format")
    found: dict[str, float] = {}
    for line in page.split("\n"):
        if (sample := SAMPLE.match(line)) and sample[1] in NAMES:
            found[sample[1]] = found.get(sample[1], 0.0) + _number(sample[2])
    if missing := [name for name in COUNTERS.values() if name not in found]:
        raise _Unreadable(f"the page has no {missing[0]}; `geventecho serve --metrics` has one")
    counters = {field: int(found[name]) for field, name in COUNTERS.items()}
    counters["bytes_sent"] -= int(found.get(UNDELIVERED, 0))
    return ServerEnd(**counters), found.get(STARTED, 0.0)


def _number(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if number < 0 or not number.is_integer():
        raise _Unreadable("a counter of the page is not a whole number of 0 or more")
    return number
