"""The files of a result that the web UI offers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from geventecho.results.collection import Collection
from geventecho.results.csv_files import CSV_FILES
from geventecho.results.facts import Facts
from geventecho.results.html import report
from geventecho.results.json_file import as_json, json_text
from geventecho.results.result import Result

__all__ = ["DOWNLOADS", "download", "download_now"]


def _csv(text: Callable[[Mapping[str, Any]], str], result: Result) -> str:
    return text(as_json(result))


DOWNLOADS: Final[Mapping[str, Callable[[Result], str]]] = {
    "report.html": report,
    "result.json": json_text,
    **{f"{name}.csv": partial(_csv, text) for name, text in CSV_FILES.items()},
}
"""The functions that make the texts of the files, by the files' names."""


def download(result: Result, name: str) -> bytes:
    """Return a file of `DOWNLOADS`. Bytes of a peer that are not text are written as escapes."""
    return DOWNLOADS[name](result).encode(errors="backslashreplace")


def download_now(collection: Collection, name: str, now: float, facts: Facts) -> bytes:
    """Return a file of `DOWNLOADS` of a running test, with the result up to now."""
    return download(collection.result(now, facts), name)
