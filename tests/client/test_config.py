"""ClientConfig: its defaults, and values out of range."""

from __future__ import annotations

import dataclasses

import pytest

from geventecho import ClientConfig
from geventecho.errors import ConfigError


def test_the_default_limits_are_five_seconds() -> None:
    assert dataclasses.asdict(ClientConfig()) == {"connect_timeout": 5.0, "request_timeout": 5.0}


@pytest.mark.parametrize("name", ["connect_timeout", "request_timeout"])
def test_a_limit_is_above_zero_or_none(name: str) -> None:
    assert getattr(ClientConfig(**{name: None}), name) is None
    for wrong in (0, -1, float("nan"), "5", True):
        with pytest.raises(ConfigError, match=name):
            ClientConfig(**{name: wrong})  # type: ignore[arg-type]
