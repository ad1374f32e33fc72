"""One connected socket, not blocking: read or write, each within a time limit; `duplex.py` does both at once.

Rules for this file: it knows one socket and its waits; never what a message means, never what is left over from one.
Every failure is a `NetworkError` with the address and the phase.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn

from gevent import get_hub, monkey, socket
from greenlet import getcurrent, greenlet

from geventecho.address import Address
from geventecho.errors import NetworkError, ReadTimeout, WriteTimeout
from geventecho.net import EXPIRED, READY, check_free, timer, translate_io, woken_by

__all__ = ["Wire"]

# The real one also in a monkey-patched process: asking with no time to wait never blocks.
_poll: Final[Any] = monkey.get_original("select", "poll")
# From us, or from the peer: something to read, or its FIN. Errors and hang-ups are reported unasked.
INCOMING: Final = select.POLLIN | select.POLLRDHUP
SEND_SIZE: Final = 256 * 1024
"""Bytes offered to the kernel at once: more would keep other greenlets waiting while it copies."""


class Wire:
    """A connected socket and everything its waits need, made once.

    Args:
        sock: a connected gevent socket; the wire closes it.
        target: its peer, for the errors.
        timeout: seconds the calls take that are not given others; None is no limit.
        receive_size: bytes to ask the kernel for at once.

    Attributes:
        poll: poll(0) is true when there is something to read; what `is_idle` is made of.
        sent: bytes the kernel took from us.
        received: bytes we took from the kernel.
    """

    __slots__ = (
        "_clock", "_read_event", "_recv", "_send", "_switch", "_target", "_write_event", "poll", "receive_size",
        "received", "sent", "sock", "timeout",
    )  # fmt: skip

    def __init__(self, sock: socket.socket, target: Address, timeout: float | None, receive_size: int) -> None:
        self.sock = sock
        self._target = target
        self.timeout = timeout
        self.receive_size = receive_size
        self.sent = self.received = 0
        # gevent's own watchers and not new ones: close() then finds and wakes whoever waits on them.
        self._read_event = sock._read_event
        self._write_event = sock._write_event
        self._recv = sock._sock.recv
        self._send = sock._sock.send
        # As greenlet does it: the hub's own switch() first looks for something that no greenlet here has.
        self._switch = partial(greenlet.switch, get_hub())
        self._clock = timer(timeout)
        idle = _poll()
        idle.register(sock.fileno(), INCOMING)
        self.poll = idle.poll

    def is_idle(self) -> bool:
        """Whether there is nothing to read: no byte, no FIN, no error. Costs a third of a receive that fails."""
        return not self.poll(0)

    def read(self, size: int, seconds: float | None) -> bytes:
        """Up to `size` bytes, as soon as there are any; b"" once the peer has closed."""
        data = self.read_now(size)
        if data is not None:
            return data
        event = self._read_event
        check_free(event)
        clock = self._clock if seconds == self.timeout else timer(seconds)
        switch = getcurrent().switch
        try:
            clock.again(switch, EXPIRED, update=True)
            event.start(switch, READY)
            while data is None:
                if woken_by(self._switch()) is EXPIRED:
                    raise ReadTimeout(f"no byte within {seconds:g} s", address=self._target, phase="read")
                data = self.read_now(size)
        except NetworkError:
            raise
        except OSError as error:  # from close(), while we waited
            raise translate_io(error, self._target, "read") from error
        finally:
            event.stop()
            clock.stop()
        return data

    def write(self, data: bytes | memoryview, seconds: float | None) -> None:
        """All of `data`, within `seconds`."""
        sent = self.write_now(data)
        if sent == len(data):
            return
        unsent = memoryview(data)[sent:]
        event = self._write_event
        check_free(event)
        clock = timer(seconds)  # not the shared one: another greenlet may be reading meanwhile
        switch = getcurrent().switch
        try:
            clock.again(switch, EXPIRED, update=True)
            event.start(switch, READY)
            while unsent:
                if woken_by(self._switch()) is EXPIRED:
                    raise self._not_taken(len(unsent), seconds)
                unsent = unsent[self.write_now(unsent) :]
        except NetworkError:
            raise
        except OSError as error:  # from close(), while we waited
            raise translate_io(error, self._target, "write") from error
        finally:
            event.stop()
            clock.stop()

    def read_now(self, size: int) -> bytes | None:
        """What there is, up to `size` bytes; None for nothing yet, b"" once the peer has closed."""
        try:
            data: bytes = self._recv(size)
        except BlockingIOError:
            return None
        except OSError as error:
            raise translate_io(error, self._target, "read") from error
        self.received += len(data)
        return data

    def write_now(self, data: bytes | memoryview) -> int:
        """Offer `data` to the kernel; returns how many bytes it took."""
        if len(data) > SEND_SIZE:
            data = memoryview(data)[:SEND_SIZE]
        try:
            count: int = self._send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise translate_io(error, self._target, "write") from error
        self.sent += count
        return count

    def _not_taken(self, unsent: int, seconds: float | None) -> WriteTimeout:
        reason = f"the peer did not take the last {unsent} bytes within {seconds:g} s"
        return WriteTimeout(reason, address=self._target, phase="write")

    def stop_writing(self, refuse: Callable[..., NoReturn]) -> None:
        """Send FIN; from now on `refuse` is called for every write."""
        self._send = refuse
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the connection broke: the next read says how

    def stop(self, refuse: Callable[..., NoReturn]) -> None:
        """From now on `refuse(phase)` is called for every use. The caller closes the socket, which wakes who waits."""
        self._recv = self.poll = partial(refuse, "read")
        self._send = partial(refuse, "write")
