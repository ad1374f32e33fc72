"""A `Result` as JSON; docs/reference/result-schema.md describes each key."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from geventecho.results.result import Result

__all__ = ["as_json", "json_text"]

LOST: Final = "lost"
"""The infinite time of a dropped or failed operation. JSON has no number for it."""

NUMBERS: Final = re.compile(r'\[\n[^\[\]{}"]+\]')
"""A list that contains no text, list or dict. JSON has line breaks only between values."""


def as_json(result: Result) -> dict[str, Any]:
    """Return a `Result` as dicts, lists, strings, finite numbers, bools and None, for `json.dumps`."""
    plain: dict[str, Any] = _plain(result)
    return plain


def json_text(result: Result) -> str:
    """Return the text of the file. The text is ASCII; other characters are escaped."""
    return f"{NUMBERS.sub(_on_one_line, json.dumps(as_json(result), indent=1, allow_nan=False))}\n"


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):  # nearly all values
        return LOST if value == math.inf else value
    if dataclasses.is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    raise TypeError(f"{type(value).__name__} is not in a result")


def _on_one_line(numbers: re.Match[str]) -> str:
    return " ".join(numbers.group().split())
