"""The armed wait: how a client's greenlet sleeps until its socket is ready or its time is over.

A watcher and a timer are started with the greenlet's own `switch` as callback, and the greenlet switches to the hub.
gevent's `Waiter` does the same and allocates an object. Each armed wait keeps these rules:

- `finally` stops every watcher and timer: if a greenlet dies armed, the loop spins at 100 % CPU; if it waits for
  something else while armed, the wrong event wakes it;
- the callback is the greenlet's bound method, because close() from elsewhere finds the greenlet through it;
- a wake-up without data is normal: try, and wait again;
- a timer that is used again is started with `again`: libev's start() after a stop() continues with the rest of the old
  time, so that after five seconds of use every call of a five-second timer would fail.
"""

from __future__ import annotations

import enum
from typing import Any, Final

from gevent import get_hub
from gevent.exceptions import BlockingSwitchOutError, InvalidSwitchError
from greenlet import getcurrent

from geventecho.errors import ConcurrentUse

__all__ = ["EXPIRED", "QUIET", "READY", "check_free", "make_timer", "wait_ready", "woken_by"]


class Wakeup(enum.Enum):
    """The value that wakes a greenlet."""

    READY = "ready"
    EXPIRED = "expired"
    QUIET = "quiet"


READY, EXPIRED, QUIET = Wakeup
NO_LIMIT: Final = 1e9  # seconds
SHORTEST_TIMER: Final = 1e-6  # seconds; a timer that repeats after 0 never fires


def make_timer(seconds: float | None) -> Any:
    """A timer of this hub, for `again(..., update=True)` and `stop()`. For None, or infinity, it fires in 31 years."""
    after = NO_LIMIT if seconds is None else min(max(seconds, SHORTEST_TIMER), NO_LIMIT)
    return get_hub().loop.timer(after, repeat=after)


def check_free(watcher: Any) -> None:
    """Refuse to arm a watcher that another greenlet waits on.

    Raises:
        ConcurrentUse: a connection can have one reader and one writer at once.
    """
    if watcher.callback is not None:
        raise ConcurrentUse("another greenlet is using this direction of the connection")


def woken_by(event: object) -> Wakeup:
    """Check that one of our watchers or timers woke the greenlet.

    Raises:
        BlockingSwitchOutError: the caller is a callback of the event loop, which cannot wait, and not a greenlet.
        InvalidSwitchError: something else switched into the greenlet.
    """
    if not isinstance(event, Wakeup):
        if getcurrent() is get_hub():
            raise BlockingSwitchOutError("a callback of the event loop cannot wait for a socket; use a greenlet")
        raise InvalidSwitchError(f"woken by {event!r} while waiting for a socket")
    return event


def wait_ready(watcher: Any, seconds: float | None) -> bool:
    """Wait for one watcher; returns False when `seconds` pass first (None waits for ever)."""
    check_free(watcher)
    timer = make_timer(seconds)
    switch = getcurrent().switch
    try:
        timer.again(switch, EXPIRED, update=True)
        watcher.start(switch, READY)
        return woken_by(get_hub().switch()) is READY
    finally:
        watcher.stop()
        timer.stop()
