"""Parts that are attached to an environment as its attribute.

The parts reference the environment. As values of a WeakKeyDictionary they would keep its key alive for ever.
"""

from __future__ import annotations

from typing import Final, TypeVar

from locust.env import Environment

__all__ = ["attach", "attached"]

NAME: Final = "geventecho_parts"

T = TypeVar("T")


def attach(environment: Environment, part: object) -> None:
    """Attach a part to an environment. It replaces a part of the same class."""
    vars(environment).setdefault(NAME, {})[type(part)] = part


def attached(environment: Environment, kind: type[T]) -> T | None:
    """The attached part of a class; None if there is none."""
    part: T | None = vars(environment).get(NAME, {}).get(kind)
    return part
