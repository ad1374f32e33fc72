"""Hypothesis, of requirements-dev.txt. Without it the property tests are skipped and the other tests run."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

__all__ = ["HealthCheck", "given", "settings", "st"]

if TYPE_CHECKING or find_spec("hypothesis"):
    from hypothesis import HealthCheck, given, settings
    from hypothesis import strategies as st

    # The time of an example depends on the load of the machine.
    settings.register_profile("any-speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any-speed")
else:
    from unittest.mock import MagicMock

    HealthCheck = st = MagicMock()  # strategies are built when a module is imported, and never drawn from

    def given(*strategies: object, **named: object) -> pytest.MarkDecorator:
        return pytest.mark.skip(reason="needs hypothesis, of requirements-dev.txt")

    def settings(**chosen: object):
        return lambda test: test
