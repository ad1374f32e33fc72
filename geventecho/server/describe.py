"""The text of an error in a log line: one line, and the place in the code."""

from __future__ import annotations

import codecs
import sysconfig
import traceback
from pathlib import Path
from typing import Final

__all__ = ["describe", "locate"]

# Python loads a codec's file on first use, and the first use is likely the message that no descriptor is left.
codecs.lookup("unicode_escape")

DESCRIPTION_LENGTH: Final = 200
"""Characters of an error that go into a log line."""
PACKAGE: Final = str(Path(__file__).parents[1])
LIBRARIES: Final = tuple({PACKAGE, *map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib", "platlib"))})
"""Folders of code that is not the user's."""


def describe(error: BaseException) -> str:
    """One line for an error: bounded and escaped."""
    try:
        text = f"{type(error).__name__}: {error}"
    except Exception:  # the error's own __str__ failed
        text = type(error).__name__
    return text.encode("unicode_escape").decode("ascii")[:DESCRIPTION_LENGTH]


def locate(error: BaseException) -> str:
    """``file:line`` of the innermost frame of the user's code; without one, of the innermost frame."""
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    own = [(file, line) for file, line in frames if not file.startswith(LIBRARIES)]
    file, line = (own or frames)[-1]
    return f"{file}:{line}"
