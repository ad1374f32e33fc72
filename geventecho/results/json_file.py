"""A `Result` as JSON, and its file; docs/result-schema.md describes each key."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from typing import Any, Final

from geventecho.errors import ConfigError
from geventecho.results.result import Result

__all__ = ["as_json", "check_path", "write_json"]

LOST: Final = "lost"
"""An infinite time: that of an operation that was dropped or failed. JSON has no number for it."""

NUMBERS: Final = re.compile(r'\[\n[^\[\]{}"]+\]')
"""A list without text, lists and dicts in it. There is a line break in JSON only between values."""


def as_json(result: Result) -> dict[str, Any]:
    """Return a `Result` as dicts, lists, strings, finite numbers, bools and None, for `json.dumps`."""
    plain: dict[str, Any] = _plain(result)
    return plain


def write_json(path: str, result: Result) -> None:
    """Write a `Result` to a file, which at each moment holds either all of it or its content before.

    Raises:
        OSError: it cannot be written.
    """
    text = NUMBERS.sub(_on_one_line, json.dumps(as_json(result), indent=1, allow_nan=False))
    path = os.path.realpath(path)  # a link stays a link
    beside = _beside(path)
    try:
        with open(beside, "w", encoding="ascii") as file:
            file.write(f"{text}\n")
        os.replace(beside, path)
    except OSError:
        _remove(beside)
        raise


def check_path(path: str) -> None:
    """Check that a file can be written there, without writing it.

    Raises:
        ConfigError: it cannot.
    """
    path = os.path.realpath(path)
    beside = _beside(path)
    try:
        if not _is_file_or_free(path):
            raise ConfigError(f"cannot write {path!r}: it is not a file")
        with open(beside, "w", encoding="ascii"):
            pass
    except OSError as error:
        raise ConfigError(f"cannot write {path!r}: {error.strerror}") from None
    _remove(beside)


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float):  # nearly all
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


def _is_file_or_free(path: str) -> bool:
    """Whether there is a file or nothing; a device or a pipe would be replaced by a file."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return True


def _beside(path: str) -> str:
    """The name under which the file is written before it is renamed; in the same folder, so that it can be."""
    return os.path.join(os.path.dirname(path), f".geventecho-{os.getpid()}.json")


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
