"""The listeners of a server: opened together or not at all, and closed together."""

from __future__ import annotations

import errno
import logging
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from gevent import socket

from geventecho.address import Address
from geventecho.errors import ListenError
from geventecho.net import grow_descriptor_table
from geventecho.server.acceptor import SWEEP_SECONDS, Acceptor, Waiting
from geventecho.server.admission import unexpected_effect
from geventecho.server.config import ServerConfig
from geventecho.server.describe import describe
from geventecho.server.listener import ip_versions, listen
from geventecho.server.registry import Registry

__all__ = ["Endpoints"]

logger = logging.getLogger("geventecho.server")


class Endpoints:
    """The listeners of one server.

    Args:
        targets: the addresses to listen on.
        config: has the backlog and the mode of the files of Unix sockets.
        scheme: the scheme of TCP addresses in `addresses`, "tcp" or "tls".

    Raises:
        ListenError: one address cannot be used; the error names it, and no listener stays open.

    Attributes:
        addresses: the bound addresses, in the order of the targets.
    """

    def __init__(self, targets: Sequence[Address], config: ServerConfig, *, scheme: str) -> None:
        self._targets = targets
        self._config = config
        self._acceptors: list[Acceptor] = []
        self._opened = []
        self.addresses: list[Address] = []
        try:
            for target in targets:
                opened = listen(target, backlog=config.backlog, unix_mode=config.unix_mode)
                self._opened.append(opened)
                address = opened[1]
                self.addresses.append(replace(address, scheme=scheme) if address.scheme == "tcp" else address)
        except ListenError as error:
            self.shut()
            raise self._explained(error) from None

    def accept(
        self,
        registry: Registry,
        socket_class: type[socket.socket],
        accept_later: Callable[[int], bool] | None = None,
    ) -> None:
        """Begin to accept connections and to give them to the registry; see `Acceptor`."""
        waiting: Waiting = deque()
        grow_descriptor_table(self._opened[0][0], registry.max_connections)
        for listener, _, _ in self._opened:
            self._acceptors.append(Acceptor(listener, registry, socket_class, waiting, accept_later))
        for acceptor in self._acceptors:
            acceptor.start()

    def listeners(self) -> list[socket.socket]:
        """The listening sockets, for forked processes."""
        return [listener for listener, _, _ in self._opened]

    def end_listening(self) -> None:
        """Make the kernel refuse connects from now on, although other processes still hold the listeners.

        Peers in the accept queue are reset. An inherited listener is left as it is.
        """
        for (listener, _, _), target in zip(self._opened, self._targets, strict=True):
            if target.scheme != "fd":
                listener.shutdown(socket.SHUT_RDWR)

    def unexpected_effects(self) -> Iterator[str]:
        """Sentences about an effect of the allow and deny lists that their author may not expect."""
        for (listener, _, _), address in zip(self._opened, self.addresses, strict=True):
            if text := unexpected_effect(self._config, ip_versions(listener)):
                yield f"{address}: {text}"

    def shut(self) -> None:
        """Serve the peers in the queues, then close the listeners; the kernel refuses later connects. Idempotent."""
        opened, self._opened = self._opened, []
        for _, address, file in opened:
            try:
                if file is not None:
                    file.remove()  # while the listener is open: another file may get its inode later
            except OSError as error:
                logger.error("%s is no longer served, but its file stays: %s", address, describe(error))
        for acceptor in self._acceptors:
            acceptor.shut(SWEEP_SECONDS / len(self._acceptors))
        for listener, _, _ in opened:
            listener.close()

    def _explained(self, error: ListenError) -> ListenError:
        """Return the error; its text says so if this server itself has the port already."""
        if error.errno == errno.EADDRINUSE and error.address is not None and error.address.port:
            for address in self.addresses:
                if address.port == error.address.port:
                    return ListenError(
                        f"this server has the port already, by {address}; [::] takes IPv4 clients, too",
                        address=error.address, phase="listen", errno=error.errno,
                    )  # fmt: skip
        return error
