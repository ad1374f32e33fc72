"""One line for an error, for the log."""

from __future__ import annotations

import codecs
import traceback
from typing import TYPE_CHECKING, Final

__all__ = ["describe"]

if TYPE_CHECKING:
    pass

# Python loads a codec's file on first use, and that use is likely to be the message that no descriptor is left.
codecs.lookup("unicode_escape")

DESCRIPTION_LENGTH: Final = 200
"""Characters of an error that go into a log line."""


def describe(error: BaseException) -> str:
    """One line for an error: bounded, escaped, and safe from an error whose own text cannot be made."""
    try:
        found = traceback.TracebackException(type(error), error, None, compact=True)
        found.__notes__ = None  # they would come after the line that names it, which for a SyntaxError is the last one
        text = list(found.format_exception_only())[-1].strip()
    except Exception:  # of an attribute of the error that is a property
        text = type(error).__name__
    return text.encode("unicode_escape").decode("ascii")[:DESCRIPTION_LENGTH]
