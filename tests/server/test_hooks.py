"""What a log line says of an error: one line, bounded and escaped, whatever the error is made of."""

from __future__ import annotations

import pytest

from geventecho.server.describe import DESCRIPTION_LENGTH, describe


def noted(error: BaseException, *notes: str) -> BaseException:
    for note in notes:
        error.add_note(note)
    return error


class Unprintable(Exception):
    def __str__(self) -> str:
        raise SystemExit(3)


class Exploding(Exception):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise RuntimeError("not even that")


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("v"), "ValueError: v"),
        (ValueError("two\nlines\x1b[31m"), r"ValueError: two\nlines\x1b[31m"),
        (noted(ValueError("v"), "a note", "of\nlines"), "ValueError: v"),
        (SyntaxError("s", ("file", 1, 1, "x = ", 1, 2)), "SyntaxError: s"),
        (noted(SyntaxError("s", ("file", 1, 1, "x = ", 1, 2)), "a note"), "SyntaxError: s"),
        (ExceptionGroup("g\nh", [ValueError(1), TypeError(2)]), r"ExceptionGroup: g\nh (2 sub-exceptions)"),
        (SystemExit(), "SystemExit"),
        (Unprintable(), f"{__name__}.Unprintable: <exception str() failed>"),
        (Exploding("x"), "Exploding"),
    ],
)
def test_an_error_is_described_in_one_line_that_names_it(error: BaseException, line: str) -> None:
    assert describe(error) == line


def test_a_description_is_bounded() -> None:
    assert len(describe(ValueError("x\n" * 1_000_000))) == DESCRIPTION_LENGTH
