"""A server as a process: signals, standard output, logs, exit codes."""

from __future__ import annotations

from geventecho.service.lines import LineWriter
from geventecho.service.logs import ANSWER, LogHandler, report_hub_errors
from geventecho.service.logs import configure as configure_logs
from geventecho.service.metrics import Metrics, OneProcess
from geventecho.service.privileges import Privileges
from geventecho.service.service import Service
from geventecho.service.systemd import notify
from geventecho.service.worker import serve
from geventecho.service.workers import Plan, serve_with_workers

__all__ = [
    "ANSWER",
    "LineWriter",
    "LogHandler",
    "Metrics",
    "OneProcess",
    "Plan",
    "Privileges",
    "Service",
    "configure_logs",
    "notify",
    "report_hub_errors",
    "serve",
    "serve_with_workers",
]
