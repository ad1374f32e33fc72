"""The files of a result: each has an option, is checked when Locust starts, and is written when a test stops."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from locust.argument_parser import LocustArgumentParser

from geventecho.errors import ConfigError
from geventecho.options import naming
from geventecho.results import (
    CSV_FILES,
    Result,
    as_json,
    check_path,
    hgrm_files,
    json_text,
    junit_xml,
    report,
    write_text,
)

__all__ = ["add_file_arguments", "check_files", "write_result_files"]

logger = logging.getLogger("geventecho.loadtest")

Options: TypeAlias = Mapping[str, Any]
MAX_NAMED: Final = 3
"""The most files that a line of the log names one by one."""


@dataclass(frozen=True, slots=True)
class ResultFile:
    """A kind of file that a result is written to, with its option.

    Attributes:
        name: the name of the option, without `--tcp-`.
        metavar: the name of the option's value.
        help: what the file contains, for --help.
        texts: a function that makes the texts of the files by path. It takes the option's value, the result and all
            options.
        check: a function that checks the option's value, and raises ConfigError.
    """

    name: str
    metavar: str
    help: str
    texts: Callable[[str, Result, Options], Mapping[str, str]]
    check: Callable[[str], None] = check_path

    @property
    def option(self) -> str:
        """The option as on the command line."""
        return f"--tcp-{self.name}"


def _junit(path: str, result: Result, options: Options) -> dict[str, str]:
    return {path: junit_xml(result, bool(options.get("tcp_fail_on_verdict")))}


def _csv(prefix: str, result: Result, options: Options) -> dict[str, str]:  # noqa: ARG001
    plain = as_json(result)
    return {f"{prefix}_{name}.csv": text(plain) for name, text in CSV_FILES.items()}


def _check_csv(prefix: str) -> None:
    for name in CSV_FILES:
        check_path(f"{prefix}_{name}.csv")


def _hgrm(directory: str, result: Result, options: Options) -> dict[str, str]:  # noqa: ARG001
    return {os.path.join(directory, name): text for name, text in hgrm_files(result).items()}


def _check_directory(path: str) -> None:
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot make the directory {path!r}: {error.strerror}") from None
    check_path(os.path.join(path, "TCP.hgrm"))


FILES: Final = (
    ResultFile("json", "FILE", "the result as JSON", lambda path, result, _: {path: json_text(result)}),
    ResultFile("report", "FILE", "a report in one HTML file", lambda path, result, _: {path: report(result)}),
    ResultFile("csv", "PREFIX", "rows, figures over time and failures as three CSV files", _csv, _check_csv),
    ResultFile("junit", "FILE", "the gates and the verdict as JUnit XML", _junit),
    ResultFile("hgrm", "DIR", "the distributions of all rows as text for HdrHistogram plots", _hgrm, _check_directory),
)


def add_file_arguments(parser: LocustArgumentParser) -> None:
    """Add the options. They are not in the form of the web UI: the form must not write files."""
    for file in FILES:
        parser.add_argument(
            file.option,
            metavar=file.metavar,
            default="",
            include_in_web_ui=False,
            help=f"Write {file.help} when a test stops.",
            env_var=f"GEVENTECHO_LOADTEST_{file.name.upper()}",
        )


def check_files(options: Options) -> None:
    """Check that all files can be written and that no two paths are the same. Make the directory of --tcp-hgrm.

    Raises:
        ConfigError: a file cannot be written, or two paths are the same.
    """
    taken: dict[str, str] = {}
    for file in FILES:
        if given := options.get(f"tcp_{file.name}"):
            with naming(file.option):
                file.check(given)
            other = taken.setdefault(os.path.realpath(given), file.option) if file.metavar == "FILE" else file.option
            if other != file.option:
                raise ConfigError(f"{other} and {file.option}: both would write {given!r}; give each its own path")


def write_result_files(options: Options, result: Result) -> bool:
    """Write the files of the given options. Return whether all files were written; the log has the errors."""
    are_written = True
    for file in FILES:
        given = path = options.get(f"tcp_{file.name}") or ""
        if not given:
            continue
        texts = file.texts(given, result, options)
        try:
            for path, text in texts.items():
                write_text(path, text)
        except OSError as error:
            are_written = False
            logger.error("cannot write the result %s: %s", path, error.strerror)
        else:
            named = ", ".join(texts) if len(texts) <= MAX_NAMED else f"{len(texts)} files in {given}"
            logger.info("wrote the result: %s", named)
    return are_written
