"""The sum of the accounts of all processes of a run. A worker sends its account with each report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, Final

from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from geventecho.loadtest.measure import account_of

__all__ = ["Accounts"]

# The key of a worker's account in its reports.
FIELD: Final = "geventecho_operations"


class Accounts:
    """Adds up the accounts of all processes. On a worker it sends the worker's account.

    Args:
        environment: Locust's environment of the run.
        runner: the runner of the environment.

    Attributes:
        reports: the counts of each worker since the start of the test, by the worker's id, as of its last report.
    """

    def __init__(self, environment: Environment, runner: Runner) -> None:
        self._account = account_of(environment)
        self.reports: dict[str, dict[str, int]] = {}
        events = environment.events
        if isinstance(runner, WorkerRunner):
            events.report_to_master.add_listener(self.on_report_to_master)
        else:
            events.test_start.add_listener(lambda **_: self.reports.clear())
            if isinstance(runner, MasterRunner):
                events.worker_report.add_listener(self.on_worker_report)

    def on_report_to_master(self, data: dict[str, Any], **_: Any) -> None:
        """Add this worker's counts to its report."""
        data[FIELD] = self._account.numbers()

    def on_worker_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        """Keep the counts of a worker's report. They are the counts since the start of the test."""
        self.reports[client_id] = data.get(FIELD, {})

    def sums(self, lost: Iterable[str] = ()) -> Counter[str]:
        """The sums over all processes, by name.

        Args:
            lost: ids of lost workers. Their open connections do not count, and their waiting instants are dropped.
                Other workers may still send their waiting instants: for them planned = sent + dropped + waiting.
        """
        sums = Counter(self._account.numbers())
        for report in self.reports.values():
            sums.update(report)
        for worker in lost:
            report = self.reports.get(worker, {})
            sums.subtract({name: report.get(name, 0) for name in ("open", "opening", "waiting")})
        sums["dropped"] -= sums["waiting"]
        return sums
