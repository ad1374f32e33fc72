"""gevent's accept loop, with errors told apart: a bad peer, a full process, a broken listener."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from gevent import get_hub, socket, spawn_raw
from gevent.server import StreamServer

from geventecho.address import SockAddr
from geventecho.net import queue_drops
from geventecho.server.counters import Refusal
from geventecho.server.describe import describe
from geventecho.server.listener import ACCEPT_NO_DESCRIPTOR, ACCEPT_PEER_GONE
from geventecho.server.refusals import RefusalLog

__all__ = ["Acceptor"]

PAUSE: Final = 0.1
"""Seconds without accepting when the kernel is out of memory: nothing else can be done, and spinning makes it worse."""
TURNS: Final = 3
"""Turns of the event loop that a full server waits before it refuses a peer. A slot may be free already: the FIN of its
peer came before this connect and is about to be read. The turn that filled the last slot counts as one."""
SWEEP: Final = 1000
"""How many are accepted at a stroke, 5 ms of work."""
SWEEP_SECONDS: Final = 0.04
"""The longest the last sweep of the queue may take: closing the listener is promised within 50 ms."""

Accepted = tuple[socket.socket, SockAddr]


class Acceptor(StreamServer):  # type: ignore[misc]
    """Accepts on a ready listener and hands each socket on, in the hub.

    gevent's own loop prints a traceback and pauses up to a second for any error, one that a single bad peer caused
    included; and when the process is out of descriptors it lets the peers wait in silence. This one keeps a descriptor
    in reserve, with which it accepts and closes them at once.

    Args:
        listener: a listening socket; `shut` closes it.
        socket_class: what accepted sockets become.
        deliver: takes a socket and the peer's address; must not block.
        room: how many more may be open; must not block.
        admit: whether to take in this one, asked also when there is no room, to say why not; must not block.
        refuse: told of a peer that was refused, and why; must not block.
        failed: told of an error of accept(2) that is not a peer's; must not block.
        dropped: told how many connects the kernel has dropped for want of room in its queue; must not block.
    """

    max_accept = 32
    """How many are taken in at a turn, 2 ms of work. With gevent's 100 those already served wait longer: beside 10,000
    connects their p99 was 15.4 ms, and is 8.7."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        socket_class: type[socket.socket],
        deliver: Callable[[socket.socket, SockAddr], None],
        room: Callable[[], int],
        admit: Callable[[SockAddr], Refusal | None],
        refuse: Callable[[SockAddr, Refusal], None],
        failed: Callable[[OSError], None],
        dropped: Callable[[int], None],
    ) -> None:
        super().__init__(listener, handle=deliver, spawn=spawn_raw)
        self._wrapper = listener
        self._kind = listener.family, listener.type, listener.proto  # asked once: each makes an enum of its answer
        self._socket_class = socket_class
        self._deliver = deliver
        self._room = room
        self._admit = admit
        self._refuse = refuse
        self._failed = failed
        self._dropped = dropped
        self._drops = queue_drops(listener)
        self._log = RefusalLog()
        self._waiting: deque[tuple[int, SockAddr]] = deque()
        self._again = get_hub().loop.timer(0)
        self._turns_full = 0
        self._reserve = _open_reserve()

    def shut(self) -> None:
        """Hand on what waits in the queue, then close the listener; the kernel refuses who comes later."""
        self.stop_accepting()
        end = time.monotonic() + SWEEP_SECONDS
        while time.monotonic() < end:
            try:
                self._waiting.append(self.socket._accept())
            except OSError as error:
                if error.errno not in ACCEPT_PEER_GONE:
                    break
        self._look_at_drops()
        self._wrapper.close()
        self.close()
        self._release_reserve()
        self._again.close()
        while self._waiting:
            accepted = self.do_read()
            if accepted is not None:
                self._deliver(*accepted)
        self._log.tell()

    def do_read(self) -> Accepted | None:
        """Take in one that was accepted; None ends this turn of gevent's loop."""
        if not self._waiting:
            return None
        fd, sockaddr = self._waiting.popleft()
        refusal = self._admit(sockaddr)
        if refusal is not None:
            os.close(fd)
            self._refuse(sockaddr, refusal)
            return None
        return self._socket_class(*self._kind, fileno=fd), sockaddr

    def _do_read(self) -> None:
        """A turn of gevent's loop: up to `max_accept` are taken in. The others wait here, not in the kernel's queue.

        Taking one in costs six times what accept(2) does, and the kernel's queue is short (net.core.somaxconn): in a
        burst of 10,000 connects it overflowed, and who falls out of it tries again a second later.
        """
        self._look_at_drops()
        self._accept()
        super()._do_read()
        if self._waiting and not self._again.active:
            self._again.start(self._do_read)

    def _accept(self) -> None:
        if self._reserve is None:  # it was spent, and there was none to be had again
            self._reserve = _open_reserve()
        room = self._room() - len(self._waiting)
        if room <= 0 and not self._waiting:
            if self._turns_full < TURNS:
                self._turns_full += 1
                return
            room = 1  # to be refused
        self._turns_full = 0
        for _ in range(min(room, SWEEP)):
            try:
                self._waiting.append(self.socket._accept())
            except BlockingIOError:
                return
            except OSError as error:
                self._accept_failed(error)
                return

    def do_handle(self, sock: socket.socket, sockaddr: SockAddr) -> None:
        """Hand on an accepted socket."""
        self._deliver(sock, sockaddr)

    def _look_at_drops(self) -> None:
        """A queue that was full has made the listener readable, so no drop is missed by looking here."""
        drops = queue_drops(self._wrapper)
        if drops != self._drops:
            self._dropped((drops - self._drops) & 0xFFFFFFFF)
            self._drops = drops

    def _accept_failed(self, error: OSError) -> None:
        if error.errno in ACCEPT_PEER_GONE:
            return
        self._log.add(f"accept failed ({describe(error)})")
        no_descriptor = error.errno in ACCEPT_NO_DESCRIPTOR
        if no_descriptor:
            self._shed()
        self._failed(error)
        if not no_descriptor or self._reserve is None:
            # Out of kernel memory, or something nobody foresaw: try again later rather than at once and for ever.
            self._pause()

    def _shed(self) -> None:
        """Spend the reserve descriptor on refusing everybody who waits."""
        self._release_reserve()
        for _ in range(self.max_accept):
            try:
                fd, sockaddr = self.socket._accept()
            except OSError:
                break
            os.close(fd)
            self._refuse(sockaddr, Refusal.NO_DESCRIPTOR)
            self._log.add(Refusal.NO_DESCRIPTOR.value)
        self._reserve = _open_reserve()

    def _release_reserve(self) -> None:
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None

    def _pause(self) -> None:
        self.stop_accepting()
        self._timer: Any = get_hub().loop.timer(PAUSE)
        self._timer.start(self._resume)

    def _resume(self) -> None:
        self._start_accepting_if_started()


def _open_reserve() -> int | None:
    try:
        return os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
