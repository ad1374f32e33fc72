"""Requests whose outcome the task decides: `catch_response=True`."""

from __future__ import annotations

from geventecho.address import Address
from geventecho.client import with_sample
from geventecho.errors import UnexpectedReply
from geventecho.loadtest.measure import Failed

__all__ = ["Caught"]


class Caught:
    """A request within its `with` block; the end of the block reports it.

    Args:
        target: where the reply came from, for the error.

    Attributes:
        data: the reply; b"" when there is none.
        error: the request's failure, or None. It is reported, unless the block calls `success` or `failure`.
    """

    def __init__(self, target: Address | None = None) -> None:
        self._target = target
        self.data = b""
        self.error: Failed | None = None
        self._verdict: bool | Failed | None = None

    def success(self) -> None:
        """Report it as a success, even if it failed."""
        self._verdict = True

    def failure(self, reason: str | Exception) -> None:
        """Report it as a failure of that name."""
        if isinstance(reason, Exception):
            self._verdict = reason if isinstance(reason, Failed) else Failed(reason)
        else:
            error = UnexpectedReply(reason, address=self._target, phase="read")
            self._verdict = Failed(with_sample(error, self.data), reason)

    @property
    def outcome(self) -> Failed | None:
        """The failure to report, or None for a success."""
        if self._verdict is True:
            return None
        return self._verdict or self.error
