"""Large messages go through a pipe, as pages that the process never copies (splice(2)).

recv(2) and send(2) copy a message twice: for a large message, this is most of the cost. The kernel can move the pages
instead, but only between a pipe and another descriptor; all connections of a server share one pipe. With 10
connections, a 100 KiB message takes 20 us of CPU; copying takes 29, and 26 in C. Below some 8 KiB copying is cheaper.

All connections share the pipe: a byte left in it would reach another peer. Therefore:

- bytes that enter the pipe in a turn leave it in the same turn: to the peer, or into memory;
- a turn empties the pipe first, unless the last turn was completed;
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
        clean: whether it is empty; a turn sets this when it is completed.
    """

    __slots__ = ("__weakref__", "_refused", "_users", "clean", "inlet", "outlet")

    def __init__(self) -> None:
        _pipes.add(self)
        self.inlet = self.outlet = -1
        self.clean = True
        self._users = 0
        self._refused = False

    def enter(self, sock: socket.socket) -> SplicedSocket:
        """Send a socket's messages through the pipe until `leave`. If no pipe can be opened, they are copied."""
        if self.inlet < 0 and not self._refused:
            self._open()
        self._users += 1
        return SplicedSocket(self, sock)

    def leave(self) -> None:
        """Count a connection that needs the pipe no longer; the last connection closes it."""
        self._users -= 1
        if not self._users:
            self.close()

    def empty(self) -> None:
        """Discard the bytes of a turn that was not completed."""
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
            # No descriptor is left, or the pipes of this user have all the pages that they may have (pipe(7)). Then a
            # new pipe gets two pages, and takes three times as long as copying. The next connection tries again.
            self.close()


_pipes: Final[weakref.WeakSet[Pipe]] = weakref.WeakSet()


def _close_in_child() -> None:
    """Leave the pipes to the parent: two processes at one pipe get each other's bytes."""
    for pipe in _pipes:
        pipe.close()


os.register_at_fork(after_in_child=_close_in_child)


class SplicedSocket:
    """`recv_into` and `send` of one socket, through the pipe.

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
        """As recv_into(), but the bytes may be in the pipe: call `send` next.

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
        # At an urgent byte splice(2) reports for ever that nothing is there or, after a FIN, that the stream has ended.
        # recv(2) skips the byte.
        return int(self._sock.recv_into(buffer))

    def send(self, message: memoryview) -> int:
        """As send(), for the bytes just received. Afterwards the unsent bytes are in `message[sent:]`.

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
