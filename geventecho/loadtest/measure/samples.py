"""One sample of each kind of wrong reply, in the log and in the text of the failure's row.

Locust groups failures by their text. So the text of a failure is only its kind, and a thousand wrong replies are one
row. In a new row the text is replaced by a text with the sample, but the key of the row stays the kind. So the rows of
all workers merge, and the master keeps the first text.
"""

from __future__ import annotations

import logging
from typing import Any, Final

from geventecho.loadtest.measure.account import Failed
from geventecho.results import printable

__all__ = ["kind_and_sample", "show_sample"]

logger = logging.getLogger("geventecho.loadtest")

# The text between the kind of a failure and its sample.
BEFORE_SAMPLE: Final = ", first seen: "


def show_sample(
    samples: dict[tuple[str, str, str], str], errors: dict[Any, Any], row: tuple[str, str], failure: Failed, age: float
) -> None:
    """Show the sample of a wrong reply. Does nothing for a failure of another kind.

    Args:
        samples: the samples that this process has shown in this test, by row and kind of failure. A new sample is
            added.
        errors: Locust's table of failures. The failure is already in it.
        row: type and name of the operation's row.
        failure: the reported failure.
        age: the age of the connection, in seconds.
    """
    sample: bytes = getattr(failure.error, "sample", b"")
    if not sample:
        return
    key = (*row, failure.kind)
    text = samples.get(key)
    if text is None:
        address = getattr(failure.error, "address", None)
        text = f"{failure.kind}{BEFORE_SAMPLE}{sample!r} from {address}, {age:.3g} s after its connect"
        samples[key] = text
        logger.warning("%s", printable(f"{' '.join(row)}: {text}"))
    # If this failure made a row, the row is the last one and contains the failure.
    if errors and (made := next(reversed(errors.values()))).error is failure:
        made.error = text


def kind_and_sample(error: object) -> tuple[str, str]:
    """The kind of a failure in Locust's table, and its sample; "" without a sample."""
    kind, _, sample = str(error).partition(BEFORE_SAMPLE)
    return kind, sample
