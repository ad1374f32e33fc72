"""The socket that a handler gets: it counts bytes, and never keeps the event loop from other connections.

It needs half the instructions of gevent's own socket, which for each message tries to read, takes an exception and
waits. This socket waits first if its last read emptied the queue, and waits without gevent's `Waiter`. `sendall` is one
send(2) as long as the peer takes its bytes. It reads few of its own attributes: in a class with `__getattr__`, such as
gevent's, each look-up is slow.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket as stdlib_socket
from collections.abc import Callable
from typing import Any, Final

import gevent
from gevent import getcurrent, socket
from gevent.exceptions import InvalidSwitchError

from geventecho.net import READY, never_linger, wait_ready
from geventecho.server.connection import Connection

__all__ = ["TURN", "Account", "CountedSocket"]

TURN: Final = 65536
"""Bytes that a handler's socket carries before other greenlets have their turn."""
OVERDUE: Final = -3 * TURN
"""Bytes left at which a handler that seldom reads lets other greenlets run. It has then carried four times TURN."""
SO_COOKIE: Final = 57
"""asm-generic/socket.h: a number that no other socket has or will have (Linux 4.6)."""


class Account:
    """Counts the bytes that a socket carries.

    Attributes:
        connection: the connection to count them for. None in a copy that dup() makes: its bytes are not counted.
        left: bytes until other greenlets have their turn; 0 also if the last read emptied the queue.
    """

    __slots__ = ("connection", "left")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.left = TURN

    def read(self, count: int, size: int = 0) -> None:
        """Count the bytes of a read that asked for `size`; 0: no size is known."""
        self.left = 0 if count < size else self.left - count
        if self.connection is not None:
            if count:
                self.connection.count_read(count)
            elif size:
                self.connection.is_read_out = True

    def written(self, count: int) -> int:
        """Count bytes that the kernel took."""
        self.left -= count
        if count and self.connection is not None:
            self.connection.count_written(count)
        return count


class _SocketAccount(Account):
    """The account of a `CountedSocket`, with copies of the attributes that each message needs: here they are read fast.

    Attributes:
        raw: the stdlib's socket inside; once it is closed, gevent's object whose methods raise EBADF.
        readable: the read watcher; None once the socket is closed.
        hub: the hub of the watcher.
    """

    __slots__ = ("hub", "raw", "readable")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.hub = sock.hub
        self.copy_from(sock)

    def copy_from(self, sock: socket.socket) -> None:
        """Copy the attributes of a socket as they are now."""
        self.raw, self.readable = sock._sock, sock._read_event

    def await_turn(self, timeout: float | None) -> None:
        """Wait as if nothing were there to read: each ready connection gets one turn in an iteration of the event loop.

        This is gevent's wait without its `Waiter`; the rules at the head of net/wait.py hold.

        Raises:
            TimeoutError: nothing arrived within `timeout` seconds.
            ConcurrentObjectUseError: another greenlet waits to read.
        """
        watcher = self.readable
        if timeout is None and watcher is not None and watcher.callback is None:
            watcher.start(getcurrent().switch, READY)
            try:
                if self.hub.switch() is not READY:
                    raise InvalidSwitchError("a greenlet that waits to read was not woken by its socket")
            finally:
                watcher.stop()
        elif timeout != 0 and watcher is not None:
            if watcher.callback is not None:
                socket.wait(watcher)  # raises gevent's own error
            if not wait_ready(watcher, timeout):
                raise TimeoutError("timed out")
        self.left = TURN


def _counted(name: str, flags_at: int) -> Callable[..., Any]:
    """Return gevent's method with the bytes counted; `flags_at` is the position of the flags."""
    receive = getattr(socket.socket, name)

    def call(self: CountedSocket, *args: Any) -> Any:
        if self.account.left < 0:
            self.account.await_turn(self.timeout)
        result = receive(self, *args)
        if len(args) <= flags_at or not args[flags_at] & socket.MSG_PEEK:  # peeked bytes stay in the queue
            # The bytes, their number, or a tuple that begins with one of these.
            data = result[0] if isinstance(result, tuple) else result
            self.account.read(data if isinstance(data, int) else len(data))
        return result

    return call


class CountedSocket(socket.socket):  # type: ignore[misc]
    """The gevent socket that a handler gets. It counts bytes, so that limits see progress.

    It also shares the hub. gevent's own socket waits only when nothing is there to read or the kernel takes no bytes: a
    fast enough peer would be served alone.
    """

    __slots__ = ("_detached", "account")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The descriptor that detach() returned, and the cookie of its socket.
        self._detached: tuple[int, bytes] | None = None
        self.account = _SocketAccount(self)

    def recv(self, size: int, flags: int = 0) -> Any:
        if flags:
            return self._recv(size, flags)
        # Other greenlets have their turn before the call and not after it: so a timeout loses no byte.
        account = self.account
        if account.left <= 0 and size > 0:
            account.await_turn(self.timeout)
        try:
            data = account.raw.recv(size)
        except BlockingIOError:
            if self.timeout == 0:
                raise
            account.await_turn(self.timeout)
            return self.recv(size)
        count = len(data)
        account.left = 0 if count < size else account.left - count
        connection = account.connection
        if connection is not None:
            if count:  # count_read, without the call
                connection.read += count
                connection.traffic.read += count
                connection.last_byte_at = connection.clock.now
            elif size:
                connection.is_read_out = True
        return data

    def recv_into(self, buffer: Any, size: int = 0, flags: int = 0) -> Any:
        if flags:
            return self._recv_into(buffer, size, flags)
        size = size or memoryview(buffer).nbytes
        account = self.account
        if account.left <= 0 and size > 0:
            account.await_turn(self.timeout)
        try:
            count = account.raw.recv_into(buffer, size)
        except BlockingIOError:
            if self.timeout == 0:
                raise
            account.await_turn(self.timeout)
            return self.recv_into(buffer, size)
        account.read(count, size)
        return count

    _recv = _counted("recv", 1)
    _recv_into = _counted("recv_into", 2)
    recvfrom = _counted("recvfrom", 1)
    recvfrom_into = _counted("recvfrom_into", 2)
    recvmsg = _counted("recvmsg", 2)
    recvmsg_into = _counted("recvmsg_into", 2)

    def send(self, data: Any, flags: int = 0, **options: float) -> int:
        self._let_others_write()
        return self.account.written(super().send(data, flags, **options))

    def sendmsg(self, *args: object, **options: object) -> int:
        self._let_others_write()
        return self.account.written(super().sendmsg(*args, **options))

    def sendto(self, *args: object) -> int:
        self._let_others_write()
        return self.account.written(super().sendto(*args))

    def sendall(self, data: Any, flags: int = 0) -> None:
        account = self.account
        if account.left <= OVERDUE:
            self._let_others_write()
        try:
            sent = account.raw.send(data, flags)
        except BlockingIOError:
            sent = 0
        account.left -= sent
        connection = account.connection
        if connection is not None and sent:  # count_written, without the call
            connection.written += sent
            connection.traffic.written += sent
            connection.last_byte_at = connection.clock.now
        if type(data) is not bytes or sent < len(data):  # len() of other types may count larger items
            rest = memoryview(data).cast("B")[sent:]
            if rest:
                super().sendall(rest, flags)

    def close(self) -> None:
        # With SO_LINGER, close(2) would block the whole process for that time (socket(7)).
        never_linger(self)
        super().close()
        self.account.copy_from(self)

    def detach(self) -> int:
        # ssl's wrap_socket() makes a new socket of it. getsockopt() goes on working, for the server's limits.
        with contextlib.suppress(OSError):
            never_linger(self)
            self._detached = self.fileno(), self.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)
        fd = int(super().detach())
        self.account.copy_from(self)
        return fd

    def getsockopt(self, *args: int) -> Any:
        if self._detached is None:
            return super().getsockopt(*args)
        fd, cookie = self._detached
        borrowed = stdlib_socket.socket(fileno=fd)
        try:
            if borrowed.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8) != cookie:  # another socket has its number now
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return borrowed.getsockopt(*args)
        finally:
            borrowed.detach()

    def _let_others_write(self) -> None:
        if self.account.left <= OVERDUE and self.timeout != 0:
            self.account.left = 0
            gevent.sleep(0)
