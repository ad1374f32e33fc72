"""Processes that end when their parent ends."""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Final

__all__ = ["die_with_parent", "outlive_parent"]

# prctl(2), linux/prctl.h. The C library is loaded here because between fork and exec nothing may be imported.
PR_SET_PDEATHSIG: Final = 1
LIBC: Final = ctypes.CDLL(None, use_errno=True)


def die_with_parent(parent: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Ask the kernel to end this process when its parent has ended, even by SIGKILL.

    Args:
        parent: the pid of the parent; if the parent has ended already, this process ends at once.
        by: the signal that ends it.
    """
    LIBC.prctl(PR_SET_PDEATHSIG, by)
    if os.getppid() != parent:
        os._exit(1)


def outlive_parent() -> None:
    """Undo `die_with_parent`."""
    LIBC.prctl(PR_SET_PDEATHSIG, 0)
