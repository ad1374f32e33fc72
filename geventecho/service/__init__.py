"""A server as a process: signals, logs, exit codes."""

from __future__ import annotations

from geventecho.service.logs import configure as configure_logs
from geventecho.service.logs import report_hub_errors
from geventecho.service.worker import serve

__all__ = ["configure_logs", "report_hub_errors", "serve"]
