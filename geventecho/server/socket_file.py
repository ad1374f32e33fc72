"""The file of a Unix listener: taken over from a dead server, and never taken from a live server."""

from __future__ import annotations

import errno
import fcntl
import os
import socket as stdlib_socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import gevent
from gevent import socket

from geventecho.net import Deadline

__all__ = ["SocketFile"]

LOCK_SECONDS: Final = 1.0
"""How long to wait for the lock of a directory. A server holds it for less than a millisecond."""
POLL: Final = 0.005  # seconds


@dataclass(frozen=True, slots=True)
class SocketFile:
    """The file that bind(2) made for a listener; close(2) does not remove it.

    Attributes:
        path: its name.
        identity: its device and inode. No other file has them while the listener is open.
    """

    path: str
    identity: tuple[int, int]

    @classmethod
    def bind(cls, listener: socket.socket, path: str, backlog: int, mode: int | None = None) -> SocketFile:
        """Bind and listen. A file that a dead server left is replaced.

        The file has its mode before anybody can connect. If anything fails after bind(2), it is removed.

        Raises:
            OSError: EADDRINUSE: a process listens there, or the file is no socket. Or bind(2) failed otherwise.
        """
        # The lock lasts until listen(2). Until then, another server would take the new file for a dead server's.
        with _locked(os.path.dirname(path) or "."):
            try:
                listener.bind(path)
            except OSError as error:
                if error.errno != errno.EADDRINUSE or not _is_stale(path):
                    raise
                Path(path).unlink(missing_ok=True)
                listener.bind(path)
            file = cls(path, _identity(path))
            try:
                if mode is not None:
                    os.chmod(path, mode)
                listener.listen(backlog)
            except OSError:
                file.remove()
                raise
            return file

    def remove(self) -> None:
        """Remove it before the listener is closed. A file that has replaced it is another server's, and stays.

        Raises:
            OSError: it cannot be removed.
        """
        with suppress(FileNotFoundError):
            if _identity(self.path) == self.identity:
                os.unlink(self.path)


def _identity(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _is_stale(path: str) -> bool:
    """Whether the file is a socket without a listener, or is gone."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            return False
    except FileNotFoundError:
        return True
    with stdlib_socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # else it would wait for a listener whose queue is full; such a server is alive
        return probe.connect_ex(path) in (errno.ECONNREFUSED, errno.ENOENT)


@contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Lock a directory (flock(2)) against other servers; the lock ends with the process and leaves no file.

    A server starts without the lock if the directory cannot be locked, or if another process keeps it locked.
    """
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield
        return
    try:
        deadline = Deadline(LOCK_SECONDS)
        while not _try_lock(fd) and not deadline.expired:
            gevent.sleep(POLL)
        yield
    finally:
        os.close(fd)


def _try_lock(fd: int) -> bool:
    """Lock a directory, unless another process has locked it. True also if the file system has no locks."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno != errno.EWOULDBLOCK
    return True
