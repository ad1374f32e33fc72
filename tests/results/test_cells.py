"""Text that fits into the columns of a terminal."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from geventecho.results.cells import cells, fitted, lines_of

TEXTS = ["", "a", "plain words of some length", "名前 は wide", "e\u0301 a\u0301\u0302", "🙂🙂 x", "n" * 300, " a  b "]


@pytest.mark.parametrize("text", TEXTS)
def test_cells_are_the_columns_of_a_terminal(text: str, wcswidth: Callable[[str], int]) -> None:
    assert cells(text) == wcswidth(text)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", [0, 1, 2, 3, 10, 80])
def test_a_text_is_shortened_only_if_it_does_not_fit(text: str, width: int, wcswidth: Callable[[str], int]) -> None:
    made = fitted(text, width)
    assert wcswidth(made) <= width
    assert (made == text) == (wcswidth(text) <= width)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("width", [5, 11, 80])
def test_lines_are_broken_between_words(text: str, width: int, wcswidth: Callable[[str], int]) -> None:
    lines = list(lines_of(text, width, "* ", "  "))
    assert all(wcswidth(line) <= width for line in lines)
    assert lines[0].startswith("* ")
    assert all(line.startswith("  ") for line in lines[1:])
    if max(map(wcswidth, text.split()), default=0) <= width - 2:
        assert " ".join(line[2:] for line in lines) == text
