"""A cache of function results.

The figures of a running test are computed every few seconds. Most blocks have not changed in between.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, ParamSpec, TypeVar, cast

__all__ = ["Memory"]

P = ParamSpec("P")
T = TypeVar("T")


class Memory:
    """Calls functions, and caches their results.

    It needs no notice of a change: blocks are passed as packed bytes, so a changed block is a different argument.

    Args:
        is_kept: whether results are cached; otherwise each call calls the function.
    """

    def __init__(self, is_kept: bool = False) -> None:
        self._is_kept = is_kept
        self._before: dict[Hashable, Any] = {}
        self._used: dict[Hashable, Any] = {}

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the result of a function that depends only on its arguments. The arguments must be hashable."""
        if not self._is_kept:
            return function(*args, **kwargs)
        key = (function, args, *kwargs.items())
        if key not in self._used:
            self._used[key] = self._before[key] if key in self._before else function(*args, **kwargs)
        return cast("T", self._used[key])

    def forget_unused(self) -> None:
        """Forget the results that no call has used since the last call of this method."""
        self._before, self._used = self._used, {}
