"""Standard input and output beside a hub: one that waits never stops the other, nor the network.

The descriptors stay blocking: they may be shared with a shell or another process. Waiting for readiness first, and
writing no more than a ready pipe takes (PIPE_BUF, pipe(7)), keeps the hub free all the same. Files on disk are always
ready.
"""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from typing import Final

from gevent import get_hub

from geventecho.errors import GeventechoError
from geventecho.net import wait_ready

__all__ = ["Output", "chunks_of"]

READABLE: Final = 1
WRITABLE: Final = 2
READ_SIZE: Final = 65536


def chunks_of(descriptor: int) -> Iterator[bytes]:
    """What can be read, chunk by chunk, until the end.

    Raises:
        GeventechoError: it cannot be read.
    """
    watcher = get_hub().loop.io(descriptor, READABLE)
    try:
        while True:
            wait_ready(watcher, None)
            try:
                chunk = os.read(descriptor, READ_SIZE)
            except BlockingIOError:
                continue
            except OSError as error:
                raise GeventechoError(f"standard input cannot be read: {error.strerror}") from error
            if not chunk:
                return
            yield chunk
    finally:
        watcher.close()


class Output:
    """A descriptor to write to.

    Args:
        descriptor: stays open.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._watcher = get_hub().loop.io(descriptor, WRITABLE)

    def write(self, data: bytes) -> None:
        """Write all of it.

        Raises:
            BrokenPipeError: nobody reads any more.
            GeventechoError: it cannot be written.
        """
        unsent = memoryview(data)
        while unsent:
            wait_ready(self._watcher, None)
            try:
                unsent = unsent[os.write(self._descriptor, unsent[: select.PIPE_BUF]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise
            except OSError as error:
                raise GeventechoError(f"standard output cannot be written: {error.strerror}") from error
