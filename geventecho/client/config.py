"""What a client checks of the arguments that it is given."""

from __future__ import annotations

import math

from geventecho.errors import ConfigError

__all__ = ["check_timeout"]


def check_timeout(name: str, value: object) -> None:
    """Check seconds that something may take; None is no limit.

    Args:
        name: of the argument that was given, for the message.
        value: what was given.

    Raises:
        ConfigError: it is not a finite number above 0, or None.
    """
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ConfigError(f"{name} is {value!r}; it must be a number of seconds above 0, or None for no limit")
    if value == 0:
        raise ConfigError(f"{name} is 0; give a number above 0, or None for no limit")
