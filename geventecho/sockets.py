"""Listeners, socket options and descriptor limits; the only file that knows errno."""

from __future__ import annotations

import errno
import fcntl
import math
import os
import resource
import socket as stdlib_socket
import stat
from typing import Final

from gevent import socket

from geventecho import errors
from geventecho.address import Address, SockAddr

__all__ = [
    "ACCEPT_NO_DESCRIPTOR",
    "ACCEPT_PEER_GONE",
    "abort",
    "descriptor_capacity",
    "grow_descriptor_table",
    "is_broken",
    "is_given_up",
    "listen",
    "name_of",
    "raise_descriptor_limit",
    "remove_path",
    "translate_connect",
    "translate_io",
]

# accept(2): Linux hands pending network errors of the new socket to accept; the peer is gone, the listener is well.
ACCEPT_PEER_GONE: Final = frozenset({
    errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.ENOPROTOOPT, errno.EHOSTDOWN,
    errno.ENONET, errno.EHOSTUNREACH, errno.EOPNOTSUPP, errno.ENETUNREACH, errno.ETIMEDOUT, errno.EINTR,
})  # fmt: skip
# accept(2): this process or machine is out of descriptors; the peer still waits in the queue.
ACCEPT_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE})
UNREACHABLE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EHOSTDOWN})
# A connection that broke: by the peer (RST), by keep-alive or retransmission giving up, or by a router.
BROKEN: Final = frozenset({errno.ECONNRESET, errno.EPIPE, errno.ECONNABORTED, errno.ETIMEDOUT, errno.ENOTCONN})
# Descriptors a process needs besides its connections: standard streams, epoll, the listener, logs, libraries.
SPARE_DESCRIPTORS: Final = 64
# The largest table of descriptors that is made in advance, half a MiB: a limit may be a billion.
LARGEST_TABLE: Final = 65535
# What listen(2) and setsockopt(2) take is a C int; a backlog is clamped much lower.
MOST_INT: Final = (1 << 31) - 1
# Bytes that the kernel takes ahead of what the peer has room for. It reports room only once a third of its buffer is
# free, which is megabytes: a peer that reads 200 KB a second would look stalled for 8 seconds at a time.
NOT_SENT: Final = 65536
# tcp(7): a silent peer is asked after 60 s and given up 30 s later, since one that vanished sends no FIN.
KEEPALIVE: Final = {socket.TCP_KEEPIDLE: 60, socket.TCP_KEEPINTVL: 10, socket.TCP_KEEPCNT: 3}


def listen(address: Address, *, backlog: int, write_stall: float | None = None) -> tuple[socket.socket, Address]:
    """Open a listener, or adopt one for an `fd:N` target.

    Args:
        address: where; port 0 lets the kernel choose.
        backlog: length asked for the accept queue; listen(2) clamps it to net.core.somaxconn.
        write_stall: seconds, and one more, after which the kernel gives up on a peer that takes nothing of what is on
            its way to it (tcp(7), TCP_USER_TIMEOUT); None leaves that to tcp_retries2, some 15 minutes.

    Returns:
        The listening socket and the address it is bound to.

    Raises:
        ListenError: in use, no permission, no such address, or not a listening socket.
    """
    if address.scheme == "tls":
        raise errors.ListenError(
            "this version does not serve TLS; use tcp:// or unix:", address=address, phase="listen"
        )
    try:
        if address.scheme == "fd":
            listener = _adopt(address)
        elif address.scheme == "unix":
            listener = _bind_unix(address)
        else:
            listener = _bind_tcp(address)
    except OSError as error:
        raise _listen_error(error, address) from error
    try:
        if listener.family != socket.AF_UNIX:
            _set_options(listener, write_stall)
        listener.listen(min(backlog, MOST_INT))
    except OSError as error:
        listener.close()
        raise _listen_error(error, address) from error
    return listener, Address.from_sockaddr(listener.getsockname())


def _set_options(listener: socket.socket, write_stall: float | None) -> None:
    """Linux copies these from the listener to what it accepts: some syscalls here instead of some for each client."""
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, NOT_SENT)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in KEEPALIVE.items():
        listener.setsockopt(socket.IPPROTO_TCP, option, value)
    if write_stall is not None:
        # A second later than the server's own look at bytes that the kernel did not even take: that one has a name.
        milliseconds = min(math.ceil(write_stall * 1000) + 1000, MOST_INT)
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def _bind_tcp(address: Address) -> socket.socket:
    # gevent asks in a thread, which it would make for this alone; a numeric address is answered without a resolver.
    resolve = socket.getaddrinfo if address.family is None else stdlib_socket.getaddrinfo
    found = resolve(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, proto, _, sockaddr = found[0]
    listener = socket.socket(family, kind, proto)
    try:
        # Without it a restart waits for the TIME_WAIT of its own last connections (socket(7)).
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Whether [::] takes IPv4 too is a sysctl (ipv6(7), bindv6only); here it does everywhere, as in Node.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(sockaddr)
    except BaseException:
        listener.close()
        raise
    return listener


def _bind_unix(address: Address) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            listener.bind(address.sockaddr)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or not _is_stale(address):
                raise
            os.unlink(address.path)
            listener.bind(address.sockaddr)
    except BaseException:
        listener.close()
        raise
    return listener


def _is_stale(address: Address) -> bool:
    """Whether a Unix socket was left behind by a process that died: it exists, and nobody listens on it."""
    if address.path.startswith("@") or not stat.S_ISSOCK(os.lstat(address.path).st_mode):
        return False
    with stdlib_socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)  # a listener whose queue is full is alive, too, and would keep gevent waiting
        return probe.connect_ex(address.sockaddr) == errno.ECONNREFUSED


def _adopt(address: Address) -> socket.socket:
    # A second descriptor of the same socket: close() is then ours alone, and whoever passed it keeps his.
    duplicate = os.dup(address.fd)
    try:
        listener = socket.socket(fileno=duplicate)
    except BaseException:
        os.close(duplicate)
        raise
    try:
        if listener.type != socket.SOCK_STREAM or not listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise OSError(errno.EINVAL, "it is not a listening stream socket")
    except BaseException:
        listener.close()
        raise
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


def name_of(sockaddr: SockAddr, scheme: str = "tcp") -> Address:
    """The address of one end of a connected socket; an unnamed Unix client is ``unix:``."""
    return Address.from_sockaddr(sockaddr, scheme)


def is_broken(error: OSError) -> bool:
    """Whether an error of reading or writing means that the connection broke, rather than that something else did."""
    # A handler may raise its own, without a number.
    return error.errno in BROKEN or isinstance(error, ConnectionResetError | ConnectionAbortedError | BrokenPipeError)


def is_given_up(error: OSError) -> bool:
    """Whether the kernel gave up on a peer that answered nothing any more, or took nothing (tcp(7))."""
    return error.errno == errno.ETIMEDOUT


def remove_path(address: Address) -> None:
    """Remove the file of a Unix listener that was bound here; bind(2) makes it and close(2) leaves it."""
    if address.scheme == "unix" and not address.path.startswith("@"):
        try:
            os.unlink(address.path)
        except FileNotFoundError:
            pass


def abort(sock: socket.socket) -> None:
    """Close with RST instead of FIN and drop what is queued (socket(7), SO_LINGER with zero time)."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    except OSError:
        pass  # the connection is gone already: closing is all that is left
    sock.close()


def raise_descriptor_limit() -> tuple[int, int]:
    """Raise RLIMIT_NOFILE's soft limit to the hard one.

    Returns:
        The soft limit before and the one in force now, in descriptors.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return soft, soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft, hard


def descriptor_capacity() -> int:
    """How many connections this process's descriptor limit leaves room for; a small limit is halved."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - min(SPARE_DESCRIPTORS, soft // 2)


def grow_descriptor_table(sock: socket.socket, connections: int) -> None:
    """Let the process's table of descriptors have room for so many connections now, 8 bytes each.

    Linux doubles a table that is full, and in a process with threads (logging has one) it waits until every core has
    noticed (fs/file.c, expand_fdtable): 10 to 40 ms each time, in which nobody is served. In a burst of 10,000 connects
    the p99 of those already served was 71 to 90 ms with that, and 15 to 17 without.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = min(soft - 1, connections + SPARE_DESCRIPTORS, LARGEST_TABLE)
    try:
        os.close(fcntl.fcntl(sock, fcntl.F_DUPFD_CLOEXEC, highest))
    except OSError:
        pass  # it is taken, or there is none left: then the table grows when it must


def translate_connect(error: OSError, address: Address) -> errors.ConnectError:
    """Say what a failed resolve or connect means."""
    number = error.errno
    if isinstance(error, stdlib_socket.gaierror):
        return errors.ResolveError(
            f"the name cannot be resolved ({error.strerror})", address=address, phase="dns", errno=number
        )
    if isinstance(error, ConnectionRefusedError | FileNotFoundError):  # a Unix server takes its path with it
        what = "no such socket" if number == errno.ENOENT else "refused"
        reason = f"{what}: nobody listens there; is the server running?"
        return errors.ConnectRefused(reason, address=address, phase="connect", errno=number)
    if isinstance(error, ConnectionResetError):
        reason = "reset as soon as it was made: the server may be full, or be stopping"
        return errors.ConnectReset(reason, address=address, phase="connect", errno=number)
    if isinstance(error, TimeoutError):
        return errors.ConnectTimeout("no answer in time", address=address, phase="connect", errno=number)
    if number in UNREACHABLE:
        return errors.ConnectUnreachable(f"{error.strerror}", address=address, phase="connect", errno=number)
    if number in (errno.EMFILE, errno.ENFILE):
        reason = "no descriptor is left in this process; raise `ulimit -n`"
        return errors.OutOfResources(reason, address=address, phase="connect", errno=number)
    if number == errno.EADDRNOTAVAIL:
        reason = "no local port is left (see net.ipv4.ip_local_port_range), or the address is not of this machine"
        return errors.OutOfResources(reason, address=address, phase="connect", errno=number)
    return errors.ConnectError(error.strerror or str(error), address=address, phase="connect", errno=number)


def translate_io(error: OSError, address: Address | None, phase: str) -> errors.NetworkError:
    """Say what a failed read or write means. `phase` is "read" or "write"."""
    number = error.errno
    if isinstance(error, errors.NetworkError):
        return error
    if number == errno.EBADF:
        # gevent's close() wakes a waiter with EBADF: it means we closed it, not that we lost count.
        return errors.ClosedLocally("the connection is closed on this side", address=address, phase=phase, errno=number)
    if number in BROKEN:
        reason = error.strerror or "the connection broke"
        return errors.PeerReset(reason, address=address, phase=phase, errno=number)
    if isinstance(error, TimeoutError):
        kind = errors.ReadTimeout if phase == "read" else errors.WriteTimeout
        return kind("timed out", address=address, phase=phase, errno=number)
    return errors.NetworkError(error.strerror or str(error), address=address, phase=phase, errno=number)
