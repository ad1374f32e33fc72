"""Memory of what was computed before.

The figures of a running test are asked for every few seconds, and most of what they are made of is then as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar, cast

__all__ = ["Memory"]

P = ParamSpec("P")
T = TypeVar("T")


class Memory:
    """Calls functions, and knows what they returned.

    What is not asked for between two calls of `forget_unused` is forgotten. So nothing has to be told of a change: the
    packed bytes of blocks are arguments, and other bytes are another call.

    Args:
        is_kept: whether there will be a next time; nothing is known without.
    """

    def __init__(self, is_kept: bool = False) -> None:
        self._is_kept = is_kept
        self._before: dict[Hashable, Any] = {}
        self._used: dict[Hashable, Any] = {}

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what a function returns, which depends on its arguments only; they can be hashed."""
        if not self._is_kept:
            return function(*args, **kwargs)
        key = (function, args, *kwargs.items())
        if key not in self._used:
            self._used[key] = self._before[key] if key in self._before else function(*args, **kwargs)
        return cast("T", self._used[key])

    def forget_unused(self) -> None:
        """A new time begins."""
        self._before, self._used = self._used, {}
