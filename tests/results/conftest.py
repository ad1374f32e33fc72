"""How wide a text is in a terminal, by a library that knows."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def wcswidth() -> Callable[[str], int]:
    """Return the columns that a text takes."""
    columns: Callable[[str], int] = pytest.importorskip("wcwidth", reason="needs requirements-dev.txt").wcswidth
    return columns
