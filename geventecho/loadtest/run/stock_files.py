"""Locust's CSV files and HTML report. They are written again at the end, because Locust's own lack the last numbers.

Locust writes its CSV files every second in a greenlet. It closes the files without ending the greenlet, so this module
ends the greenlet first.
"""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TextIO

import gevent
from greenlet import greenlet
from locust import stats
from locust.env import Environment
from locust.stats import StatsCSVFileWriter

from geventecho.loadtest.locust_internals import Part, html_report, replace

__all__ = ["watch_csv_writer", "write_files"]

logger = logging.getLogger("geventecho.loadtest")

_writers: list[greenlet] = []


def watch_csv_writer() -> None:
    """Remember the greenlet in which Locust writes the CSV files."""

    def watched(stats_writer: Callable[[StatsCSVFileWriter], None]) -> Callable[[StatsCSVFileWriter], None]:
        def write(self: StatsCSVFileWriter) -> None:
            _writers.append(gevent.getcurrent())
            stats_writer(self)

        return write

    replace(Part.CSV_WRITER, watched)


def write_files(environment: Environment) -> None:
    """Write the files of --csv and --html. Call it when all numbers are complete.

    The history file of --csv stays as Locust wrote it: its last row is up to a second old.
    """
    options = environment.parsed_options
    while _writers:
        gevent.kill(_writers.pop())
    try:
        if prefix := getattr(options, "csv_prefix", None):
            _write_csv(environment, prefix)
        if getattr(options, "html_file", None) and (html := html_report(environment)):
            path, report = html
            _write(path, lambda file: file.write(report))
    except OSError as error:
        logger.error("cannot write the final report %s: %s", error.filename, error.strerror)


def _write_csv(environment: Environment, prefix: str) -> None:
    table = stats.StatsCSV(environment, stats.PERCENTILES_TO_REPORT)
    for name, rows in (
        ("stats", table.requests_csv),
        ("failures", table.failures_csv),
        ("exceptions", table.exceptions_csv),
    ):
        _write(f"{prefix}_{name}.csv", lambda file, rows=rows: rows(csv.writer(file)))  # type: ignore[misc]


def _write(path: str, write: Callable[[TextIO], Any]) -> None:
    """Write a file under another name and rename it. Locust may still have the old file open and write at its close."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    temporary = f"{path}.{os.getpid()}"
    try:
        with open(temporary, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            write(file)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
