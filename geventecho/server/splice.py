"""Large messages go through a pipe, as pages that the process never copies (splice(2)).

What is received and sent is copied twice, which is most of what a large message costs. The kernel can hand on the pages
instead, but only between a pipe and something else; all connections of a server share one pipe. 100 KiB messages, 10
connections: 20 us of CPU each where copying takes 29, and the same in C takes 26. Below some 8 KiB copying is cheaper.

All connections share the pipe: a byte left in it would reach another peer. Therefore:

- what a turn brings in leaves in the same turn: to the peer, or into memory;
- a turn empties the pipe first, unless the last turn got to its end;
- a forked process (fork(2)) closes it, and opens one of its own when a connection enters.
"""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from os import SPLICE_F_NONBLOCK, splice
from typing import Any, Final

from gevent import socket

__all__ = ["Pipe", "SplicedSocket"]

PIPE_SIZE: Final = 1 << 20
"""Bytes of the pipe, the limit of an unprivileged process: each piece from the network uses a page of it."""
REFUSED: Final = frozenset((errno.EINVAL, errno.ENOSYS, errno.EPERM, errno.EOPNOTSUPP))
"""Errors of splice(2) if it is missing, forbidden (seccomp(2)), or not possible with this kind of socket."""


class Pipe:
    """One pipe for all connections of a server. It has two descriptors while connections use it.

    Attributes:
        inlet, outlet: its descriptors, -1 while it has none.
        clean: whether nothing is in it; a turn says so when it has come to its end.
    """

    __slots__ = ("__weakref__", "_inside", "_refused", "clean", "inlet", "outlet")

    def __init__(self) -> None:
        _pipes.add(self)
        self.inlet = self.outlet = -1
        self.clean = True
        self._inside = 0
        self._refused = False

    def enter(self, sock: socket.socket) -> SplicedSocket:
        """Let a socket's messages through, until it leaves; where there can be no pipe they are copied."""
        if self.inlet < 0 and not self._refused:
            self._open()
        self._inside += 1
        return SplicedSocket(self, sock)

    def leave(self) -> None:
        """Count a connection that needs the pipe no longer; the last one closes it."""
        self._inside -= 1
        if not self._inside:
            self.close()

    def empty(self) -> None:
        """Throw away the bytes of a turn that did not come to its end."""
        try:
            while os.read(self.outlet, PIPE_SIZE):
                pass
        except BlockingIOError:
            pass
        self.clean = True

    def refuse(self, error: OSError) -> None:
        """Copy from now on, if the error says that splice(2) does not work here.

        Raises:
            OSError: the error, when it is about the connection.
        """
        if error.errno not in REFUSED:
            raise error
        self._refused = True
        self.close()

    def close(self) -> None:
        """Close its descriptors; the next connection to enter opens two again."""
        if self.inlet >= 0:
            os.close(self.inlet)
            os.close(self.outlet)
            self.inlet = self.outlet = -1
        self.clean = True

    def _open(self) -> None:
        try:
            self.outlet, self.inlet = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            fcntl.fcntl(self.inlet, fcntl.F_SETPIPE_SZ, PIPE_SIZE)
        except OSError:
            # There are no descriptors, or the pipes of this user have all the pages that they may have (pipe(7)). A new
            # pipe then gets two pages, and takes three times as long as copying. The next connection tries again.
            self.close()


_pipes: Final[weakref.WeakSet[Pipe]] = weakref.WeakSet()


def _close_in_child() -> None:
    """Leave the pipes to the process that this one was forked from: two at one pipe get each other's bytes."""
    for pipe in _pipes:
        pipe.close()


os.register_at_fork(after_in_child=_close_in_child)


class SplicedSocket:
    """Does for one socket what its `recv_into` and `send` do, through the pipe.

    Args:
        pipe: the server's.
        sock: a connected socket that does not block.
    """

    __slots__ = ("_fd", "_pipe", "_sock", "leave")

    def __init__(self, pipe: Pipe, sock: socket.socket) -> None:
        self._pipe = pipe
        self._sock: Any = sock._sock
        self._fd: int = sock.fileno()
        self.leave = pipe.leave

    def recv_into(self, buffer: memoryview) -> int:
        """As recv_into(), but what came may be in the pipe: `send` it next.

        Raises:
            BlockingIOError: there is nothing yet.
            OSError: the connection broke.
        """
        pipe = self._pipe
        if not pipe.clean:
            pipe.empty()
        if pipe.inlet < 0:
            return int(self._sock.recv_into(buffer))
        pipe.clean = False
        try:
            size = splice(self._fd, pipe.inlet, len(buffer), None, None, SPLICE_F_NONBLOCK)
            if size:
                return size
        except BlockingIOError:
            pass
        except OSError as error:
            pipe.refuse(error)
        pipe.clean = True
        # splice(2) stops before an urgent byte for ever: nothing is there, or, after a FIN, the stream is at its end.
        # recv(2) steps over the byte.
        return int(self._sock.recv_into(buffer))

    def send(self, message: memoryview) -> int:
        """As send(), of what was just received. What the peer does not take is in `message` afterwards.

        Raises:
            OSError: the connection broke.
        """
        pipe = self._pipe
        if pipe.clean:  # it was received into memory
            return int(self._sock.send(message))
        refusal = None
        try:
            sent = splice(pipe.outlet, self._fd, len(message), None, None, SPLICE_F_NONBLOCK)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            sent, refusal = 0, error
        rest = message[sent:]
        while rest:
            rest = rest[os.readv(pipe.outlet, [rest]) :]
        pipe.clean = True
        if refusal is not None:
            pipe.refuse(refusal)
        return sent
