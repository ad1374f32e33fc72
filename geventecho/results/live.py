"""Makes the results of a running test in a separate process: `python -m geventecho.results.live`.

Each row takes 3 to 25 ms. In the measuring process, all users would wait for that time.

The process reads pickles from standard input: first the arguments of the `Collection`, then calls. A call is a function
that takes the collection, with its other arguments. If a call returns a result, `Encoded.write` writes it to standard
output. If a call returns bytes, they go to standard output after a line with their number. The process ends when its
input ends.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
from typing import BinaryIO, Final

from geventecho.results.collection import Collection
from geventecho.results.encoded import Encoded
from geventecho.results.memory import Memory
from geventecho.results.result import Result

__all__ = ["main"]

NICENESS: Final = 10
"""The processes with users take precedence."""


def main() -> None:
    """Execute the calls until the input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the load test, which ends this process
    os.nice(NICENESS)
    try:
        follow(sys.stdin.buffer, sys.stdout.buffer)
    except (EOFError, BrokenPipeError):
        os._exit(0)  # no flush: the reader is gone


def follow(source: BinaryIO, sink: BinaryIO) -> None:
    """Execute the calls, and write their results.

    Raises:
        EOFError: the input has ended.
    """
    begun, warm_up = pickle.load(source)  # noqa: S301  (our parent writes it)
    collection = Collection(begun, warm_up, Memory(is_kept=True))
    while True:
        change, args, kwargs = pickle.load(source)  # noqa: S301
        found = change(collection, *args, **kwargs)
        if isinstance(found, Result):
            Encoded.of(found).write(sink)
        elif isinstance(found, bytes):
            sink.write(b"%d\n%b" % (len(found), found))
            sink.flush()


if __name__ == "__main__":
    main()
