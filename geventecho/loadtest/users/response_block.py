"""Requests with an outcome that the task decides: `catch_response=True`."""

from __future__ import annotations

from geventecho.address import Address
from geventecho.client import with_sample
from geventecho.errors import UnexpectedReply
from geventecho.loadtest.measure import Failed

__all__ = ["Caught"]


class Caught:
    """A request within its `with` block. The request is reported at the end of the block.

    Args:
        target: the source of the reply, for the error.

    Attributes:
        data: the reply; b"" without a reply.
        error: the request's failure, or None. It is reported unless the block calls `success` or `failure`.
    """

    def __init__(self, target: Address | None = None) -> None:
        self._target = target
        self.data = b""
        self.error: Failed | None = None
        self._decision: bool | Failed | None = None

    def success(self) -> None:
        """Report the request as a success, even if it failed."""
        self._decision = True

    def failure(self, reason: str | Exception) -> None:
        """Report the request as a failure with this reason."""
        if isinstance(reason, Exception):
            self._decision = reason if isinstance(reason, Failed) else Failed(reason)
        else:
            error = UnexpectedReply(reason, address=self._target, phase="read")
            self._decision = Failed(with_sample(error, self.data), reason)

    @property
    def outcome(self) -> Failed | None:
        """The failure to report, or None for a success."""
        if self._decision is True:
            return None
        return self._decision or self.error
