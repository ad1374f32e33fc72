"""Locust's CSV files and HTML report, written once more at the end: without that they lack the last numbers."""

from __future__ import annotations

import os
import time

import gevent
from locust import stats
from locust.env import Environment
from locust.html import get_html_report, process_html_filename

__all__ = ["CompleteCsv", "replace_csv", "write_html"]


class CompleteCsv(stats.StatsCSVFileWriter):
    """Locust's CSV files, with the final numbers in them."""

    _writer: gevent.Greenlet | None = None

    def stats_writer(self) -> None:
        """Write every second; Locust runs it in a greenlet that it never ends."""
        self._writer = gevent.getcurrent()
        super().stats_writer()

    def close_files(self) -> None:
        """Write the tables once more and close. A second call does nothing: after SIGTERM Locust may close twice."""
        if self.requests_csv_filehandle.closed:
            return
        if self._writer is not None:
            self._writer.kill()
        for write, writer, file in (
            (self.requests_csv, self.requests_csv_writer, self.requests_csv_filehandle),
            (self.failures_csv, self.failures_csv_writer, self.failures_csv_filehandle),
            (self.exceptions_csv, self.exceptions_csv_writer, self.exceptions_csv_filehandle),
        ):
            file.seek(0)
            write(writer)
            file.truncate()
        self._stats_history_data_rows(self.stats_history_csv_writer, time.time())
        super().close_files()


def replace_csv() -> None:
    """Have Locust write its CSV files by `CompleteCsv`."""
    stats.StatsCSVFileWriter = CompleteCsv  # type: ignore[misc]


def write_html(environment: Environment) -> None:
    options = environment.parsed_options
    if options is None or not options.html_file:
        return
    process_html_filename(options)
    os.makedirs(os.path.dirname(options.html_file) or ".", exist_ok=True)
    with open(options.html_file, "w", encoding="utf-8") as file:
        file.write(get_html_report(environment, show_download_link=False))
