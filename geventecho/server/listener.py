"""Listeners and their socket options."""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from gevent import socket

from geventecho import errors
from geventecho.address import Address, canonical_ip
from geventecho.net import never_linger
from geventecho.server.socket_file import SocketFile

__all__ = ["ACCEPT_NO_DESCRIPTOR", "ACCEPT_PEER_GONE", "ip_versions", "listen"]

# accept(2): Linux hands pending network errors of the new socket to accept; the peer is gone, the listener is well.
ACCEPT_PEER_GONE: Final = frozenset({
    errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN,
    errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EINTR,
})  # fmt: skip
# accept(2): this process or machine is out of descriptors; the peer still waits in the queue.
ACCEPT_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE})
# listen(2) and setsockopt(2) take a C int; a backlog is clamped to much less.
MAX_INT: Final = (1 << 31) - 1
# Unsent bytes that the kernel queues. Without this limit a socket becomes writable only when a third of its buffer is
# free, which is megabytes: a peer that reads 200 KB a second would look stalled for 8 seconds at a time.
MAX_UNSENT: Final = 65536
# tcp(7): a silent peer is probed after 60 s and given up 30 s later, because a vanished host sends no FIN.
KEEPALIVE: Final = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}


def listen(
    address: Address, *, backlog: int, unix_mode: int | None = None
) -> tuple[socket.socket, Address, SocketFile | None]:
    """Open a listener, or adopt one for an `fd:N` target.

    Args:
        address: where to listen; port 0 lets the kernel choose.
        backlog: requested length of the accept queue; listen(2) clamps it to net.core.somaxconn.
        unix_mode: permissions of the file of a Unix socket; None leaves them to the umask.

    Returns:
        The listening socket, the address it is bound to, and the file to remove when it is closed.

    Raises:
        ListenError: the address is in use or not of this machine, there is no permission, or the descriptor is not a
            listening socket.
    """
    backlog, file = min(backlog, MAX_INT), None
    try:
        if address.scheme == "fd":
            listener = _adopt(address)
        elif address.scheme == "unix":
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        else:
            listener = _bind_tcp(address)
        with _closed_on_error(listener):
            if listener.family != socket.AF_UNIX:
                _set_options(listener)
            elif address.scheme == "unix":
                file = _bind_unix(listener, address, backlog, unix_mode)
            listener.listen(backlog)
    except OSError as error:
        raise _listen_error(error, address) from error
    return listener, Address.from_sockaddr(listener.getsockname()), file


def ip_versions(listener: socket.socket) -> frozenset[int]:
    """The versions of IP that a listener takes clients of: 4, 6 or both; none for a Unix socket."""
    if listener.family == socket.AF_UNIX:
        return frozenset()
    host = canonical_ip(listener.getsockname()[0])
    if host == "::" and not listener.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY):
        return frozenset((4, 6))  # IPv4 clients come as ::ffff:192.0.2.1 (ipv6(7))
    return frozenset((6 if ":" in host else 4,))


@contextmanager
def _closed_on_error(listener: socket.socket) -> Iterator[None]:
    """Close a listener when the block fails."""
    try:
        yield
    except BaseException:
        listener.close()
        raise


def _set_options(listener: socket.socket) -> None:
    """Linux copies these options to accepted sockets: they cost no syscalls for each client."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        listener.setsockopt(socket.IPPROTO_TCP, option, value)


def _bind_tcp(address: Address) -> socket.socket:
    # gevent resolves in a thread, and would make one for this call alone. A numeric address needs no resolver.
    resolve = socket.getaddrinfo if address.family is None else stdlib_socket.getaddrinfo
    found = resolve(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _, sockaddr = found[0]
    listener = socket.socket(family, kind, proto)
    with _closed_on_error(listener):
        # Without SO_REUSEADDR a restart waits for the TIME_WAIT of its own last connections (socket(7)).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # A sysctl decides whether [::] also takes IPv4 (ipv6(7), bindv6only). Here it always does, as in Node.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(sockaddr)
    return listener


def _bind_unix(listener: socket.socket, address: Address, backlog: int, mode: int | None) -> SocketFile | None:
    if not address.path.startswith("@"):
        return SocketFile.bind(listener, address.path, backlog, mode)
    listener.bind(address.sockaddr)  # a name without a file
    return None


def _adopt(address: Address) -> socket.socket:
    if not stat.S_ISSOCK(os.fstat(address.fd).st_mode):
        raise OSError(errno.ENOTSOCK, os.strerror(errno.ENOTSOCK))
    # A second descriptor of the same socket: our close() leaves the inherited descriptor open.
    listener = socket.socket(fileno=os.dup(address.fd))
    with _closed_on_error(listener):
        if listener.type != socket.SOCK_STREAM or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, "it is not a listening stream socket")
        never_linger(listener)  # accepted sockets inherit the option, and each close(2) would block
    return listener


def _listen_error(error: OSError, address: Address) -> errors.ListenError:
    advice = {
        errno.EADDRINUSE: "another process has this address; stop it or choose another port",
        errno.EACCES: "no permission; ports below 1024 need CAP_NET_BIND_SERVICE, a path a writable directory",
        errno.EADDRNOTAVAIL: "this machine has no such address",
        errno.EBADF: "this process inherited no such descriptor",
        errno.ENOTSOCK: "the descriptor is not a socket",
        errno.ENOENT: "the directory does not exist",
    }
    if isinstance(error, stdlib_socket.gaierror):
        reason = f"the name cannot be resolved ({error.strerror})"
    elif error.errno == errno.EADDRINUSE and address.scheme == "unix":
        reason = "something has this name: a process that listens there, or a file that is no socket"
    else:
        reason = advice.get(error.errno or 0) or error.strerror or str(error)
    return errors.ListenError(reason, address=address, phase="listen", errno=error.errno)
