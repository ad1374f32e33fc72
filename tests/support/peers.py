"""Misbehaving peers: each a context manager that serves on a port of its own while the block runs.

::

    with peers.resets_after(100) as peer:
        client = connect(peer.target)
        ...
    assert peer.accepted == 1

A peer is a plain thread per connection with blocking sockets, so it works beside a hub, in a process without one, and
beside subprocesses that a test waits for. (In a monkey-patched process the threads are greenlets; that works too.)
At the end of the block its listener and all its connections are closed and its threads joined.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Self

CHUNK = 65536
RST_ON_CLOSE = struct.pack("ii", 1, 0)


class Peer:
    """A server on 127.0.0.1 that runs `behave(connection)` in a thread for each connection it accepts.

    Args:
        behave: serves one connection; it may return or raise OSError at any time, and then the connection is closed.
        port: 0 for a free port, or the port of an earlier peer, for a restart in mid-run.
        backlog: of listen(2).

    Attributes:
        target: "tcp://127.0.0.1:PORT".
        port: the bound port.
        accepted: connections accepted so far.
        open: connections accepted and not yet closed.
    """

    def __init__(self, behave: Callable[[socket.socket], None], *, port: int = 0, backlog: int = 1024) -> None:
        self._behave = behave
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self.target = f"tcp://127.0.0.1:{self.port}"
        self.accepted = 0
        self._connections: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._listener.listen(backlog)

    @property
    def open(self) -> int:
        return len(self._connections)

    def __enter__(self) -> Self:
        self._spawn(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Close the listener and every connection (FIN, or RST where input is unread); wait for the threads."""
        self._stopping = True
        # close() alone does not wake a thread in accept(2) or recv(2); shutdown(2) does.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self.end_connections()
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive(), "a peer's thread did not end"
        self._listener.close()

    def end_connections(self) -> None:
        """End every connection, as a restart does that keeps the listener."""
        with self._lock:
            for sock in self._connections:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _spawn(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._stopping:
                    connection.close()
                    return
                self.accepted += 1
                self._connections.add(connection)
            self._spawn(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with contextlib.suppress(OSError):
                self._behave(connection)
        finally:
            with self._lock:
                self._connections.discard(connection)
                connection.close()


def echoes(*, port: int = 0) -> Peer:
    """Echoes every byte, then closes at the client's FIN."""
    return Peer(_echo, port=port)


def echoes_after(seconds: float) -> Peer:
    """Echoes each chunk after a pause."""

    def serve(connection: socket.socket) -> None:
        while data := connection.recv(CHUNK):
            time.sleep(seconds)
            connection.sendall(data)

    return Peer(serve)


def never_replies() -> Peer:
    """Reads all bytes, and sends nothing until the block ends, not even a FIN."""
    return Peer(_swallow_for_ever)


def never_reads() -> Peer:
    """Accepts and never reads: the sender's window closes after some hundred KiB."""

    def behave(connection: socket.socket) -> None:
        _wait_for_stop(connection)

    return Peer(behave)


def closes_after(count: int) -> Peer:
    """Echoes the first `count` bytes of each connection, then sends FIN; more input is read and dropped.

    With `count` inside a request that is a short reply; with `count` at the end of one, a close between requests.
    """

    def behave(connection: socket.socket) -> None:
        _echo_first(connection, count)
        _end(connection)

    return Peer(behave)


replies_short = closes_after
closes_between_requests = closes_after


def replies_long(extra: bytes = b"x") -> Peer:
    """Echoes each chunk it reads followed by `extra`, in one piece."""

    def behave(connection: socket.socket) -> None:
        while chunk := connection.recv(CHUNK):
            connection.sendall(chunk + extra)

    return Peer(behave)


def corrupts(offset: int) -> Peer:
    """Echoes, but the byte at `offset` of each connection's stream comes back with its lowest bit flipped."""

    def behave(connection: socket.socket) -> None:
        position = 0
        while chunk := connection.recv(CHUNK):
            if position <= offset < position + len(chunk):
                wrong = bytearray(chunk)
                wrong[offset - position] ^= 1
                chunk = bytes(wrong)
            position += len(chunk)
            connection.sendall(chunk)

    return Peer(behave)


def resets_after(count: int) -> Peer:
    """Reads and echoes `count` bytes, then resets; `resets_after(0)` resets after it has read one byte."""

    def behave(connection: socket.socket) -> None:
        if count:
            _echo_first(connection, count)
        else:
            connection.recv(1)
        _reset(connection)

    return Peer(behave)


def accepts_and_closes() -> Peer:
    """Closes (FIN) each connection as soon as it is accepted."""
    return Peer(lambda connection: None)


def accepts_and_resets() -> Peer:
    """Resets each connection as soon as it is accepted."""
    return Peer(_reset)


def sends_unsolicited(data: bytes) -> Peer:
    """Sends `data` right after the connect, then echoes."""

    def behave(connection: socket.socket) -> None:
        connection.sendall(data)
        _echo(connection)

    return Peer(behave)


def greets(seconds: float, *, most: int = 1_000_000) -> Peer:
    """Greets as a mail server does, `seconds` after the connect; answers `most` lines with 250, then closes."""

    def serve(connection: socket.socket) -> None:
        time.sleep(seconds)
        connection.sendall(b"220 mail.test hello\r\n")
        with connection.makefile("rb") as reader:
            for _, _line in zip(range(most), reader, strict=False):
                connection.sendall(b"250 OK\r\n")

    return Peer(serve)


def replies_with(reply: bytes, *, pieces: int = 1, pause: float = 0.0, then_close: bool = False) -> Peer:
    """Answers every chunk it reads with `reply`, cut into `pieces` with `pause` seconds between them."""

    def behave(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        step = -(-len(reply) // pieces)
        while connection.recv(CHUNK):
            for start in range(0, len(reply), step):
                if start:
                    time.sleep(pause)
                connection.sendall(reply[start : start + step])
            if then_close:
                return _end(connection)
        return None

    return Peer(behave)


def floods(chunk: bytes = b"x" * CHUNK) -> Peer:
    """Sends without end once it has received a chunk."""

    def behave(connection: socket.socket) -> None:
        connection.recv(CHUNK)
        while True:
            connection.sendall(chunk)

    return Peer(behave)


@contextlib.contextmanager
def refuses() -> Iterator[str]:
    """Yields a target that refuses connects: bound, so that no other program takes the port, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"tcp://127.0.0.1:{bound.getsockname()[1]}"


@contextlib.contextmanager
def never_accepts() -> Iterator[str]:
    """Yields a target whose accept queue is full: a connect to it gets no answer."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(64):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            if not select.select([], [filler], [], 0.1)[1]:
                break
        else:
            raise AssertionError("the accept queue did not fill")
        yield f"tcp://127.0.0.1:{listener.getsockname()[1]}"


def _echo(connection: socket.socket) -> None:
    while chunk := connection.recv(CHUNK):
        connection.sendall(chunk)


def _echo_first(connection: socket.socket, count: int) -> None:
    while count > 0 and (chunk := connection.recv(min(count, CHUNK))):
        connection.sendall(chunk)
        count -= len(chunk)


def _swallow_for_ever(connection: socket.socket) -> None:
    while connection.recv(CHUNK):
        pass
    _wait_for_stop(connection)


def _wait_for_stop(connection: socket.socket) -> None:
    """Wait until `Peer.stop` shuts the connection down or the other side resets it; read nothing."""
    poll = select.poll()
    poll.register(connection, 0)  # poll(2) always reports POLLHUP and POLLERR, and only once both directions are over
    poll.poll()


def _end(connection: socket.socket) -> None:
    """Send FIN, then read and drop further input: a close with unread input would send RST and destroy the reply."""
    connection.shutdown(socket.SHUT_WR)
    while connection.recv(CHUNK):
        pass


def _reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
    connection.close()
