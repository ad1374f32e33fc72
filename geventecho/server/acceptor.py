"""gevent's accept loop, which here distinguishes errors of a peer, of the process and of the listener."""

from __future__ import annotations

import errno
import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from gevent import get_hub, socket, spawn_raw
from gevent.server import StreamServer

from geventecho.address import SockAddr
from geventecho.net import Deadline, QueueDrops
from geventecho.server.counters import Refusal
from geventecho.server.listener import ACCEPT_NO_DESCRIPTOR, ACCEPT_PEER_GONE
from geventecho.server.registry import Registry

__all__ = ["SWEEP_SECONDS", "Acceptor", "Waiting"]

PAUSE: Final = 0.1
"""Seconds without accepting when the kernel is out of memory: nothing else can be done, and spinning makes it worse."""
FULL_TURNS: Final = 3
"""Turns of the event loop that a full server waits before it refuses the peers in the queue. A slot may become free
meanwhile: a client that closes one connection and opens the next sends its FIN first. Then the server refuses the whole
queue; it waits again only after it has seen the queue empty."""
YIELD_SECONDS: Final = 0.002
MAX_YIELDS: Final = 5
"""How often in a row other processes with the same listener may accept first. Then this process accepts: the others may
be busy."""
MAX_YIELDS_WHEN_FULL: Final = 25
"""The same for a full process: it would refuse peers that another process has slots for."""
MAX_ACCEPTS: Final = 1000
"""Peers that one turn of the event loop accepts, 5 ms of work."""
MAX_SHARED_ACCEPTS: Final = 16
"""The same for processes that share a listener."""
SWEEP_SECONDS: Final = 0.04
"""Seconds for emptying the queues at the end: the documentation promises that listeners are closed within 50 ms."""
MAX_REFUSALS: Final = 50
"""Peers that one turn of the event loop refuses, 2 ms of work."""

Accepted = tuple[socket.socket, SockAddr]
Waiting = deque[tuple[int, SockAddr, tuple[int, int, int]]]
"""Admitted peers: the descriptor, the address, and the family, type and protocol of the socket."""


class Acceptor(StreamServer):  # type: ignore[misc]
    """Accepts on a ready listener and gives each socket to the registry, in the hub.

    On any error, gevent's own loop prints a traceback and pauses for up to a second, even if a single bad peer caused
    the error. When the process is out of descriptors, gevent leaves the peers in the queue. This class keeps a
    descriptor in reserve, with which it accepts these peers and closes them at once. It uses only the start,
    the stop and the loop over `do_read` of StreamServer.

    Args:
        listener: a listening socket; `shut` closes it.
        registry: decides about each peer, and serves it.
        socket_class: the class of accepted sockets.
        waiting: admitted peers that the registry does not have yet; its acceptors share this queue. There are never
            more of them than free slots.
        accept_later: takes the number of connections, and returns whether other processes should accept first.
    """

    max_accept = 32
    """Peers that the registry gets in one turn, 2 ms of work. With gevent's 100, open connections wait longer: beside
    10,000 connects their p99 is 15.4 ms, and with 32 it is 8.7 ms."""

    def __init__(
        self,
        listener: socket.socket,
        registry: Registry,
        socket_class: type[socket.socket],
        waiting: Waiting,
        accept_later: Callable[[int], bool] | None = None,
    ) -> None:
        super().__init__(listener, handle=registry.add, spawn=spawn_raw)
        self._listener = listener
        self._kind = listener.family, listener.type, listener.proto  # kept, because each read makes an enum
        self._registry = registry
        self._socket_class = socket_class
        self._drops = QueueDrops(listener) if accept_later is None else None  # all processes would see the same drops
        self._taken = 0  # peers that left the queue since its drops were last counted
        self._waiting = waiting
        self._accept_later = accept_later
        self._max_accepts = MAX_ACCEPTS if accept_later is None else MAX_SHARED_ACCEPTS
        self._yields = 0
        self._yielded_at = 0.0
        self._next_turn = get_hub().loop.timer(0)
        self._full_turns = 0
        self._reserve = _open_reserve()

    def shut(self, seconds: float = SWEEP_SECONDS) -> None:
        """Serve the peers in the queue, then close the listener; the kernel refuses later connects.

        Args:
            seconds: how long to accept peers from the queue.
        """
        self.stop_accepting()
        queue: list[tuple[int, SockAddr]] = []
        deadline = Deadline(seconds)
        while not self.closed and not deadline.expired:
            try:
                queue.append(self.socket._accept())
            except OSError as error:
                if error.errno not in ACCEPT_PEER_GONE:
                    break
        self._count_drops(self._taken + len(queue))
        self._listener.close()
        self.close()
        self._release_reserve()
        self._next_turn.close()
        while (accepted := self.do_read()) is not None:
            self.do_handle(*accepted)
        for fd, sockaddr in queue:
            refusal = self._registry.admit(sockaddr) if self._registry.free_slots() > 0 else Refusal.FULL
            if refusal is None:
                self.do_handle(self._socket_class(*self._kind, fileno=fd), sockaddr)
            else:
                self._refuse(fd, sockaddr, refusal)

    def do_read(self) -> Accepted | None:
        """The next admitted peer; None ends this turn of gevent's loop."""
        if not self._waiting:
            return None
        fd, sockaddr, kind = self._waiting.popleft()
        return self._socket_class(*kind, fileno=fd), sockaddr

    def do_handle(self, sock: socket.socket, sockaddr: SockAddr) -> None:
        """Give an accepted socket to the registry."""
        self._registry.add(sock, sockaddr)

    def _do_read(self) -> None:
        """One turn: the registry gets up to `max_accept` peers. The others wait here, not in the kernel's queue.

        Serving a peer costs six times as much as accept(2), and the kernel's queue is short (net.core.somaxconn). A
        burst of 10,000 connects made it overflow. A client whose connect is dropped tries again a second later.
        """
        self._count_drops(self._taken)
        # The watcher is gevent's; it is None during a pause.
        self._taken = self._accept() if self._watcher is not None else 0
        super()._do_read()
        if self._waiting and not self._next_turn.active:
            self._next_turn.start(self._do_read)

    def _accept(self) -> int:
        """Empty the kernel's queue: admit peers while there are slots, and refuse the others.

        A full server does not check a peer's address.

        Returns:
            The largest number of peers that may have left the queue.
        """
        if self._reserve is None:  # it was used, and no descriptor was left for a new one
            self._reserve = _open_reserve()
        slots = self._registry.free_slots() - len(self._waiting)
        is_full = slots <= 0
        if not is_full:
            self._full_turns = 0
        elif self._full_turns < FULL_TURNS:
            self._full_turns += 1
            return 0
        if self._may_yield(MAX_YIELDS_WHEN_FULL if is_full else MAX_YIELDS):
            return 0
        accept, admit, refused = self.socket._accept, self._registry.admit, 0
        for taken in range(self._max_accepts):
            try:
                fd, sockaddr = accept()
            except BlockingIOError:
                self._full_turns = self._yields = 0
                return taken
            except OSError as error:
                if error.errno in ACCEPT_PEER_GONE:
                    continue
                self._accept_failed(error)
                return taken + MAX_REFUSALS
            refusal = Refusal.FULL if is_full else admit(sockaddr)
            if refusal is None:
                self._waiting.append((fd, sockaddr, self._kind))
                slots -= 1
                if not slots:
                    return taken + 1
            else:
                self._refuse(fd, sockaddr, refusal)
                refused += 1
                if refused == MAX_REFUSALS:
                    return taken + 1
        return self._max_accepts

    def _may_yield(self, max_yields: int) -> bool:
        """Whether other processes may accept first, for YIELD_SECONDS."""
        if self._accept_later is None:
            return False
        now = time.monotonic()
        if now - self._yielded_at > 2 * YIELD_SECONDS:  # the queue was empty after the last pause
            self._yields = 0
        if self._yields >= max_yields or not self._accept_later(len(self._registry.open) + len(self._waiting)):
            return False
        self._yields += 1
        self._yielded_at = now
        self._pause(YIELD_SECONDS)
        return True

    def _pause(self, seconds: float) -> None:
        self.stop_accepting()
        self._timer: Any = get_hub().loop.timer(seconds)
        self._timer.start(self._start_accepting_if_started)

    def _refuse(self, fd: int, sockaddr: SockAddr, refusal: Refusal) -> None:
        os.close(fd)
        self._registry.refused(sockaddr, refusal)

    def _count_drops(self, taken: int) -> None:
        """Count the drops. A full queue makes the listener readable, so a count in each turn misses no drop."""
        if self._drops is not None and (drops := self._drops.count(taken)):
            self._registry.dropped(drops)

    def _accept_failed(self, error: OSError) -> None:
        if error.errno == errno.EINVAL and self._accept_later is not None:
            self.stop_accepting()  # another process has shut the listener down (accept(2)); this process closes it soon
            return
        no_descriptor = error.errno in ACCEPT_NO_DESCRIPTOR
        self._registry.accept_failed(error)
        if no_descriptor:
            self._refuse_with_reserve()
        if not no_descriptor or self._reserve is None:
            # The kernel is out of memory, or the error is unforeseen: trying again at once would spin.
            self._pause(PAUSE)

    def _refuse_with_reserve(self) -> None:
        """Close the reserve descriptor, and refuse the peers in the queue with the free descriptor."""
        self._release_reserve()
        for _ in range(MAX_REFUSALS):
            try:
                fd, sockaddr = self.socket._accept()
            except OSError:
                break
            self._refuse(fd, sockaddr, Refusal.NO_DESCRIPTOR)
        self._reserve = _open_reserve()

    def _release_reserve(self) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None


def _open_reserve() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
