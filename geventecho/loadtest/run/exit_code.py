"""The balance of a headless run: the accounts of all its processes in one line, and whether it may look like success.

What was under way at the end is aborted and in no table, so a server that never answers would leave a run without
requests and without failures, which Locust takes for success.
"""

from __future__ import annotations

import logging
from collections import Counter
from typing import Any, Final

from locust.env import Environment
from locust.runners import Runner, WorkerRunner

from geventecho.loadtest.measure import account_of
from geventecho.loadtest.users import TcpUser

__all__ = ["Balance"]

logger = logging.getLogger("geventecho.loadtest")

# A worker's numbers, in each of its reports.
FIELD: Final = "geventecho_operations"


class Balance:
    """Adds up the accounts; on a worker, sends its own. Make it before what stops the users at `quitting`.

    It logs the sums at the end, and sets the exit code when no operation other than a connect was answered.
    """

    def __init__(self, environment: Environment, runner: Runner) -> None:
        self._environment = environment
        self._account = account_of(environment)
        self._reports: dict[str, dict[str, int]] = {}
        events = environment.events
        if isinstance(runner, WorkerRunner):
            events.report_to_master.add_listener(self.on_report_to_master)
            return
        events.test_start.add_listener(lambda **_: self._reports.clear())
        events.worker_report.add_listener(self.on_worker_report)
        options = environment.parsed_options
        if options is not None and options.headless and any(issubclass(c, TcpUser) for c in environment.user_classes):
            events.quitting.add_listener(self.on_quitting)

    def on_report_to_master(self, data: dict[str, Any], **_: Any) -> None:
        """A worker reports."""
        data[FIELD] = self._account.numbers()

    def on_worker_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        """A worker has reported; its numbers are those since the test's start."""
        self._reports[client_id] = data.get(FIELD, {})

    def on_quitting(self, **_: Any) -> None:
        """Every user has stopped and every worker has reported."""
        sums = Counter(self._account.numbers())
        for report in self._reports.values():
            sums.update(report)
        names = ("started", "ok", "failed", "aborted")
        logger.info("operations: %s", ", ".join(f"{name} {sums[name]}" for name in names))
        # Of several processes the sum of the peaks: no second had more.
        logger.info("connects: %d, at most %d in one second", sums["connects"], sums["peak"])
        if sums["started"] == 0:
            self._fail("no operation was started: the run ended before a user came to one")
        elif sums["ok"] == 0 or (sums["ok"] == sums["connected"] and sums["started"] > sums["connects"]):
            self._fail("nothing was answered: only connects ended well; see --run-time and --tcp-request-timeout")

    def _fail(self, why: str) -> None:
        logger.error("%s", why)
        options = self._environment.parsed_options
        if self._environment.process_exit_code is None and options is not None:
            self._environment.process_exit_code = options.exit_code_on_error
