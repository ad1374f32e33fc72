"""The width of a text in a terminal, by the library wcwidth."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def wcswidth() -> Callable[[str], int]:
    """Return the function that counts the columns of a text."""
    columns: Callable[[str], int] = pytest.importorskip("wcwidth", reason="needs requirements-dev.txt").wcswidth
    return columns
