"""The last lines of a run, and its exit code.

Locust takes a run without failures for a success. But an operation that was under way at the end is aborted, and in no
table: a run against a server that never answers has no requests and no failures. And a run that lost a worker or its
master has fewer requests, and no failure either.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Final

from locust.env import Environment
from locust.runners import Runner, WorkerRunner

from geventecho.loadtest.measure import TCP, account_of, without_sample
from geventecho.loadtest.run.final_reports import MasterReports
from geventecho.loadtest.run.master_watch import MasterWatch
from geventecho.loadtest.users import TcpUser

__all__ = ["USAGE_ERROR", "RunSummary"]

logger = logging.getLogger("geventecho.loadtest")

USAGE_ERROR: Final = 2
INCOMPLETE: Final = 6
# A worker's numbers, in each of its reports.
FIELD: Final = "geventecho_operations"


class RunSummary:
    """Adds up the accounts of all processes. On a worker it sends the worker's own.

    Args:
        environment: the run's.
        runner: its runner.
        others: knows which workers did not send their last report, or on a worker that the master is gone; None in a
            run of one process.
    """

    def __init__(self, environment: Environment, runner: Runner, others: MasterReports | MasterWatch | None) -> None:
        self._environment = environment
        self._others = others
        self._account = account_of(environment)
        self._reports: dict[str, dict[str, int]] = {}
        self._logged = False
        events = environment.events
        if isinstance(runner, WorkerRunner):
            events.report_to_master.add_listener(self.on_report_to_master)
        else:
            events.test_start.add_listener(lambda **_: self._reports.clear())
            if others is not None:
                events.worker_report.add_listener(self.on_worker_report)

    def on_report_to_master(self, data: dict[str, Any], **_: Any) -> None:
        """A worker reports."""
        data[FIELD] = self._account.numbers()

    def on_worker_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        """A worker has reported; its numbers are those since the test's start."""
        self._reports[client_id] = data.get(FIELD, {})

    def judge(self) -> None:
        """Set the exit code, once every user has stopped and every worker has reported."""
        environment, options = self._environment, self._environment.parsed_options
        if environment.process_exit_code == USAGE_ERROR:
            return
        if self._lacking():
            environment.process_exit_code = INCOMPLETE
        elif environment.process_exit_code is None and self._is_unattended() and self._nothing_answered():
            environment.process_exit_code = getattr(options, "exit_code_on_error", 1)

    def log(self) -> None:
        """Print the last lines, once."""
        if self._logged:
            return
        self._logged = True
        lacking = self._lacking()
        if lacking or self._is_unattended():
            sums = self._sums()
            names = ("started", "ok", "failed", "aborted")
            logger.info("operations: %s", ", ".join(f"{name} {sums[name]}" for name in names))
            if sums["planned"]:
                text = "tasks: planned %(planned)d, sent %(sent)d (%(late)d of them late), dropped %(dropped)d"
                logger.info(text, sums)
                idle = [worker for worker, report in self._reports.items() if not report.get("users")]
                if idle:
                    logger.warning("workers %s had no user: their part of the arrival rate is missing", ", ".join(idle))
            # Of several processes the sum of the peaks: no second had more.
            logger.info("connects: %d, at most %d in one second", sums["connects"], sums["peak"])
            if not lacking and (reason := self._nothing_answered()):
                logger.error("%s", reason)
        for reason in lacking:
            logger.error(
                "incomplete: %s. Operations since the last report are not counted (exit code %d)", reason, INCOMPLETE
            )

    def _lacking(self) -> list[str]:
        return self._others.lacking if self._others is not None else []

    def _is_unattended(self) -> bool:
        options = self._environment.parsed_options
        return bool(getattr(options, "headless", False) or getattr(options, "autostart", False))

    def _sums(self) -> Counter[str]:
        sums = Counter(self._account.numbers())
        for report in self._reports.values():
            sums.update(report)
        return sums

    def _nothing_answered(self) -> str:
        """Why this run may not look like a success; "" where it may."""
        sums = self._sums()
        if not sums["users"] and self._environment.stats.num_requests:
            return ""  # all users of this run are of other classes
        if sums["started"] == 0:
            return "no operation was started: the run ended before a user came to one"
        if sums["ok"] and (sums["ok"] != sums["connected"] or sums["started"] == sums["connects"]):
            return ""
        happened = []
        if sums["failed"]:
            happened.append(f"{sums['failed']} operations failed")
        if sums["aborted"]:
            happened.append(f"{sums['aborted']} operations were under way at the end")
        errors = [error for error in self._environment.stats.errors.values() if error.method == TCP]
        if errors:
            worst = max(errors, key=lambda error: error.occurrences)
            kind = without_sample(worst.error)
            happened.append(f"most frequent failure: {worst.name}: {kind}, {worst.occurrences} times")
        else:
            happened.append("see --run-time and --tcp-request-timeout")
        return f"nothing was answered by {self._target()}: {'; '.join(happened)}"

    def _target(self) -> str:
        environment = self._environment
        hosts = {user_class.host for user_class in environment.user_classes if issubclass(user_class, TcpUser)}
        return environment.host or " or ".join(sorted(filter(None, hosts)))
