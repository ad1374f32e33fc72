"""The socket that a handler of one's own gets: it counts bytes, shares the event loop and never holds it up.

It takes half the instructions of gevent's own, which tries to read, takes an exception, and waits, for every message.
This one waits first when its last read took all there was, and waits without gevent's `Waiter`. `sendall` is one
send(2) as long as the peer takes its bytes. And it reads few of its own attributes: in a class with `__getattr__`, such
as gevent's, each look-up takes long.
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
"""Bytes that a handler's socket carries before others have their turn."""
OVERDUE: Final = -3 * TURN
"""Bytes left of a turn when a handler that seldom reads lets others write. It has then carried four times TURN."""
SO_COOKIE: Final = 57
"""asm-generic/socket.h: a number that no other socket has or will have (Linux 4.6)."""


class Account:
    """What a socket has carried.

    Attributes:
        connection: whose bytes they are; None in a copy that dup() makes: no connection counts its bytes.
        left: bytes until others have their turn; 0 also when the last read took all there was.
    """

    __slots__ = ("connection", "left")

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.left = TURN

    def read(self, count: int, size: int = 0) -> None:
        """Count bytes that were read, of `size` that were asked for."""
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
    """The account of a `CountedSocket`, with those of its attributes that a message needs: here they are read fast.

    Attributes:
        raw: the stdlib's socket within; gevent's stand-in that fails once that is closed.
        readable: its read watcher; None once it is closed.
        hub: the hub of both.
    """

    __slots__ = ("hub", "raw", "readable")

    def __init__(self, sock: socket.socket) -> None:
        super().__init__()
        self.hub = sock.hub
        self.follow(sock)

    def follow(self, sock: socket.socket) -> None:
        """Take over what a socket has now."""
        self.raw, self.readable = sock._sock, sock._read_event

    def await_turn(self, timeout: float | None) -> None:
        """Wait as if there were nothing to read: each ready connection gets one turn in a round of the event loop.

        It is gevent's wait without its `Waiter`; the rules at the head of net/wait.py hold.

        Raises:
            TimeoutError: nothing came in `timeout` seconds.
            ConcurrentObjectUseError: another greenlet waits to read.
        """
        watcher = self.readable
        if timeout is None and watcher is not None and watcher.callback is None:
            watcher.start(getcurrent().switch, READY)
            try:
                if self.hub.switch() is not READY:
                    raise InvalidSwitchError("something else than the socket woke a greenlet that waits to read")
            finally:
                watcher.stop()
        elif timeout != 0 and watcher is not None:
            if watcher.callback is not None:
                socket.wait(watcher)  # for gevent's own error
            if not wait_ready(watcher, timeout):
                raise TimeoutError("timed out")
        self.left = TURN


def _receiving(name: str, flags_at: int) -> Callable[..., Any]:
    """A rarer call of gevent's socket, with the bytes counted; `flags_at` is the position of its flags."""
    receive = getattr(socket.socket, name)

    def call(self: CountedSocket, *args: Any) -> Any:
        if self.account.left < 0:
            self.account.await_turn(self.timeout)
        result = receive(self, *args)
        if len(args) <= flags_at or not args[flags_at] & socket.MSG_PEEK:  # else what was read stays in the queue
            # The bytes, their number, or a tuple that begins with one of these.
            data = result[0] if isinstance(result, tuple) else result
            self.account.read(data if isinstance(data, int) else len(data))
        return result

    return call


class CountedSocket(socket.socket):  # type: ignore[misc]
    """The ordinary gevent socket a handler gets; it counts what passes, so that limits see progress.

    It also shares the hub. gevent's own socket waits only when there is nothing to read or no room to write; a peer
    that is fast enough would be the only one served.
    """

    __slots__ = ("_detached", "account")

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # The descriptor that was given away by detach(), and the cookie of its socket.
        self._detached: tuple[int, bytes] | None = None
        self.account = _SocketAccount(self)

    def recv(self, size: int, flags: int = 0) -> Any:
        if flags:
            return self._recv(size, flags)
        # Others have their turn before the call and not after it: a timeout in that time costs no byte.
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

    _recv = _receiving("recv", 1)
    _recv_into = _receiving("recv_into", 2)
    recvfrom = _receiving("recvfrom", 1)
    recvfrom_into = _receiving("recvfrom_into", 2)
    recvmsg = _receiving("recvmsg", 2)
    recvmsg_into = _receiving("recvmsg_into", 2)

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
        if type(data) is not bytes or sent < len(data):  # the length of others may be in larger items
            rest = memoryview(data).cast("B")[sent:]
            if rest:
                super().sendall(rest, flags)

    def close(self) -> None:
        # close(2) would wait, in the kernel and with the whole process, for as long as SO_LINGER says (socket(7)).
        never_linger(self)
        super().close()
        self.account.follow(self)

    def detach(self) -> int:
        # wrap_socket() of ssl makes a new socket of it. For the server's limits, getsockopt() still answers.
        with contextlib.suppress(OSError):
            never_linger(self)
            self._detached = self.fileno(), self.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8)
        fd = int(super().detach())
        self.account.follow(self)
        return fd

    def getsockopt(self, *args: int) -> Any:
        if self._detached is None:
            return super().getsockopt(*args)
        fd, cookie = self._detached
        borrowed = stdlib_socket.socket(fileno=fd)
        try:
            if borrowed.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8) != cookie:  # closed, and its number is another's
                raise OSError(errno.EBADF, os.strerror(errno.EBADF))
            return borrowed.getsockopt(*args)
        finally:
            borrowed.detach()

    def _let_others_write(self) -> None:
        if self.account.left <= OVERDUE and self.timeout != 0:
            self.account.left = 0
            gevent.sleep(0)
