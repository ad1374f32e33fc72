"""The record of a load test, its figures, their intervals and the verdict, as pure values.

This package does not use Locust, sockets or processes, so each rule is tested with values made by hand.
"""

from __future__ import annotations

from geventecho.results.blocks import OTHER, TIMES, Block, Record, RowKey
from geventecho.results.cells import WITHHELD, byte_count, milliseconds, per_second, printable
from geventecho.results.collection import Collection
from geventecho.results.csv_files import CSV_FILES
from geventecho.results.downloads import DOWNLOADS, download, download_now
from geventecho.results.encoded import Encoded
from geventecho.results.evidence import Evidence, HealthSecond, RowEvidence, RowSpan, WorkerEvidence
from geventecho.results.facts import Facts
from geventecho.results.figures import TASK, good_rate, rows_of, worker_of
from geventecho.results.files import check_path, write_text
from geventecho.results.gates import Gate, parse_gates, uncounted_failures
from geventecho.results.hgrm import hgrm_files
from geventecho.results.html import ASSETS, asset, page, report
from geventecho.results.intervals import FLOORS, Estimate, Percentile, estimate
from geventecho.results.json_file import as_json, json_text
from geventecho.results.junit import junit_xml
from geventecho.results.memory import Memory
from geventecho.results.progress import Users, display, plain_line
from geventecho.results.result import (
    SCHEMA,
    Account,
    Connections,
    Distribution,
    Failures,
    GateOutcome,
    Intervals,
    Part,
    Rate,
    Result,
    Row,
    Stage,
    Times,
    Worker,
)
from geventecho.results.series import RUN_COLUMNS, RowSeries, Series
from geventecho.results.server_account import ClientEnd, ServerAccount, ServerEnd, compare_ends
from geventecho.results.summary import account_lines, table
from geventecho.results.verdict import TRUSTED, Verdict, judge, judge_worker

__all__ = [
    "ASSETS",
    "CSV_FILES",
    "DOWNLOADS",
    "FLOORS",
    "OTHER",
    "RUN_COLUMNS",
    "SCHEMA",
    "TASK",
    "TIMES",
    "TRUSTED",
    "WITHHELD",
    "Account",
    "Block",
    "ClientEnd",
    "Collection",
    "Connections",
    "Distribution",
    "Encoded",
    "Estimate",
    "Evidence",
    "Facts",
    "Failures",
    "Gate",
    "GateOutcome",
    "HealthSecond",
    "Intervals",
    "Memory",
    "Part",
    "Percentile",
    "Rate",
    "Record",
    "Result",
    "Row",
    "RowEvidence",
    "RowKey",
    "RowSeries",
    "RowSpan",
    "Series",
    "ServerAccount",
    "ServerEnd",
    "Stage",
    "Times",
    "Users",
    "Verdict",
    "Worker",
    "WorkerEvidence",
    "account_lines",
    "as_json",
    "asset",
    "byte_count",
    "check_path",
    "compare_ends",
    "display",
    "download",
    "download_now",
    "estimate",
    "good_rate",
    "hgrm_files",
    "json_text",
    "judge",
    "judge_worker",
    "junit_xml",
    "milliseconds",
    "page",
    "parse_gates",
    "per_second",
    "plain_line",
    "printable",
    "report",
    "rows_of",
    "table",
    "uncounted_failures",
    "worker_of",
    "write_text",
]
