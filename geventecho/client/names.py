"""Host names, resolved once per process."""

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
"""A name whose addresses all fail is looked up again if its answer is older than this, in seconds."""
Found = tuple[int, SockAddr]


class Names:
    """Answers of the resolver, one for each name and process: a load test must not measure the resolver.

    gevent resolves in ten threads. Greenlets that ask for the same name at the same time share one lookup.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], tuple[float, list[Found]]] = {}
        self._lookups: dict[tuple[str, int, object], gevent.Greenlet] = {}

    def lookup(self, target: Address, deadline: Deadline) -> list[Found]:
        """Return the addresses of a target whose host is a name.

        Raises:
            ResolveError: the name has no address.
            ConnectTimeout: the resolver did not answer before the deadline.
        """
        key = (target.host, target.port)
        if key in self._known:
            return self._known[key][1]
        lookup_key = (*key, gevent.get_hub())
        job = self._lookups.get(lookup_key)
        if job is None:
            job = self._lookups[lookup_key] = gevent.spawn(_resolve, target)
            job.rawlink(lambda _: self._lookups.pop(lookup_key, None))
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
        """Forget the answer if it is old, because no address of the target accepted."""
        key = (target.host, target.port)
        if key in self._known and time.monotonic() - self._known[key][0] > REFRESH_AFTER:
            del self._known[key]


NAMES: Final = Names()


def _resolve(target: Address) -> list[Found] | OSError | UnicodeError:
    # Errors are returned: a greenlet that ends by an exception prints a traceback.
    try:
        target.host.encode("idna")  # the resolver would raise in a thread that prints a traceback
        found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        return error
    return [(int(family), sockaddr) for family, _, _, _, sockaddr in found]
