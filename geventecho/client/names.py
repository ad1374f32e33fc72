"""Host names: resolved once per process."""

from __future__ import annotations

import time
from typing import Final

import gevent
from gevent import socket

from geventecho import errors
from geventecho.address import Address, SockAddr
from geventecho.net import Deadline, translate_connect

__all__ = ["NAMES", "Found", "Names"]

REFRESH_AFTER: Final = 60.0
"""Seconds after which a name is looked up again, and only if no connection could be made to its addresses."""
Found = tuple[int, SockAddr]


class Names:
    """Answers of the resolver, asked once per process: thousands of clients must not measure the resolver.

    gevent resolves in ten threads. Greenlets that ask for the same name while it is being looked up share one answer.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[float, list[Found]]] = {}
        self._asking: dict[tuple[str, int, object], gevent.Greenlet] = {}

    def lookup(self, target: Address, deadline: Deadline) -> list[Found]:
        """The addresses of a target whose host is a name.

        Raises:
            ResolveError: it has none.
            ConnectTimeout: no answer within the deadline.
        """
        key = (target.host, target.port)
        if key in self._known:
            return self._known[key][1]
        asked = (*key, gevent.get_hub())
        job = self._asking.get(asked)
        if job is None:
            job = self._asking[asked] = gevent.spawn(_resolve, target)
            job.rawlink(lambda _: self._asking.pop(asked, None))
        job.join(deadline.remaining())
        if not job.ready():
            raise errors.ConnectTimeout("the name was not resolved in time", address=target, phase="dns")
        found = job.value
        if isinstance(found, UnicodeError):
            raise errors.ResolveError(f"{target.host!r} is not a host name ({found})", address=target, phase="dns")
        if isinstance(found, OSError):
            raise translate_connect(found, target)
        self._known[key] = (time.monotonic(), found)
        return self._known[key][1]

    def failed(self, target: Address) -> None:
        """No connection could be made to the name's addresses: look it up again if the answer is old."""
        key = (target.host, target.port)
        if key in self._known and time.monotonic() - self._known[key][0] > REFRESH_AFTER:
            del self._known[key]


NAMES: Final = Names()


def _resolve(target: Address) -> list[Found] | OSError | UnicodeError:
    # Returned, not raised: a greenlet that dies of an exception prints its traceback.
    try:
        target.host.encode("idna")  # the resolver does it too, but in a thread that prints a traceback
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return error
    return [(int(family), sockaddr) for family, _, _, _, sockaddr in found]
