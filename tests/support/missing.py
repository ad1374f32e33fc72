"""What a test does where the machine lacks something that it needs."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

__all__ = ["skip"]


def skip(reason: str) -> NoReturn:
    """Skip the test; but where everything was installed for it, a skip would hide that it no longer runs."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)
