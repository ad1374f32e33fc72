"""Parts of an environment, kept by the environment itself.

They hold the environment. As the values of a WeakKeyDictionary they would keep it, and so themselves, for ever.
"""

from __future__ import annotations

from typing import Final, TypeVar

from locust.env import Environment

__all__ = ["attach", "attached"]

NAME: Final = "geventecho_parts"

T = TypeVar("T")


def attach(environment: Environment, part: object) -> None:
    """Have an environment keep a part, of which it has one of each class."""
    vars(environment).setdefault(NAME, {})[type(part)] = part


def attached(environment: Environment, kind: type[T]) -> T | None:
    """The part of a class that an environment keeps; None where it has none."""
    part: T | None = vars(environment).get(NAME, {}).get(kind)
    return part
