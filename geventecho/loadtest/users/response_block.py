"""Requests whose outcome the task decides: `catch_response=True`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

from geventecho.client import Client
from geventecho.errors import GeventechoError, NetworkError
from geventecho.loadtest.measure import Failed, Reporter, leaves_task

__all__ = ["Caught", "catching"]


class Caught:
    """A request within its `with` block; it is reported when the block ends.

    Attributes:
        data: the reply; b"" when there is none.
        error: why the request failed, or None. It is reported as that, unless the block says otherwise.
    """

    def __init__(self) -> None:
        self.data = b""
        self.error: Failed | None = None
        self._verdict: bool | Failed | None = None

    def success(self) -> None:
        """Report it as a success, whatever came."""
        self._verdict = True

    def failure(self, reason: str | Exception) -> None:
        """Report it as a failure of that name."""
        if isinstance(reason, Exception):
            self._verdict = reason if isinstance(reason, Failed) else Failed(reason)
        else:
            self._verdict = Failed(GeventechoError(reason), reason)

    @property
    def outcome(self) -> Failed | None:
        """The failure to report, or None for a success."""
        if self._verdict is True:
            return None
        return self._verdict or self.error


@contextmanager
def catching(
    reporter: Reporter,
    ready: Callable[[], Client],
    lose: Callable[[BaseException], None],
    exchange: Callable[[Client], bytes],
    name: str,
    context: dict[str, Any] | None,
) -> Iterator[Caught]:
    """Do a request, give its reply to the block, and report it once by what the block said of it.

    An exception that leaves the block is a failure too, and goes on.
    """
    client = ready()
    caught = Caught()
    reporter.account.started += 1
    begun = perf_counter()
    try:
        caught.data = exchange(client)
    except NetworkError as error:
        caught.error = Failed(error)
        lose(caught.error)
    except BaseException as error:
        lose(error)
        reporter.ended(name, context, begun, error)
        raise
    over = perf_counter()
    try:
        yield caught
    except BaseException as error:
        if not leaves_task(error):
            reporter.ended(name, context, begun, error)
            raise
        left: BaseException | None = error
    else:
        left = None
    if caught.outcome is None:
        reporter.ok(name, context, begun, caught.data, over=over)
    else:
        reporter.ended(name, context, begun, caught.outcome)
    if left is not None:
        raise left
