"""The log line of an error: bounded and escaped, with the place in the user's code."""

from __future__ import annotations

import json

import pytest

from geventecho.server.describe import DESCRIPTION_LENGTH, describe, locate


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("not even that")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("v"), "ValueError: v"),
        (ValueError("two\nlines\x1b[31m"), r"ValueError: two\nlines\x1b[31m"),
        (SystemExit(3), "SystemExit: 3"),
        (Unprintable(), "Unprintable"),
    ],
)
def test_an_error_is_described_in_one_line_that_names_it(error: BaseException, line: str) -> None:
    assert describe(error) == line


def test_a_description_is_bounded() -> None:
    assert len(describe(ValueError("x\n" * 1_000_000))) == DESCRIPTION_LENGTH


def test_an_error_inside_a_library_is_located_where_the_user_called_it() -> None:
    with pytest.raises(ValueError, match="Expecting") as caught:
        json.loads("{")
    assert locate(caught.value) == f"{__file__}:{caught.tb.tb_lineno}"
