"""The last lines of a run, and its exit code.

For Locust a run without failures is a success. But an operation under way at the end is aborted and is in no table. So
a run against a server that never answers has neither requests nor failures. A run that lost a worker or its master has
fewer requests, but no failure.
"""

from __future__ import annotations

import locale
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from locust.env import Environment

from geventecho.loadtest.locust_internals import greenlet_failed
from geventecho.loadtest.measure import TCP, kind_and_sample
from geventecho.loadtest.run.accounts import Accounts
from geventecho.loadtest.run.description import target_of
from geventecho.loadtest.run.results import Results
from geventecho.loadtest.settings import gates_of, is_unattended, options_of
from geventecho.results import (
    TRUSTED,
    Account,
    GateOutcome,
    Result,
    RowKey,
    account_lines,
    printable,
    table,
    uncounted_failures,
)

__all__ = ["USAGE_ERROR", "RunSummary"]

logger = logging.getLogger("geventecho.loadtest")

USAGE_ERROR: Final = 2
INCOMPLETE: Final = 6
GATE_NOT_MET: Final = 4
NOT_TRUSTED: Final = 5
NOT_WRITTEN: Final = 1


class RunSummary:
    """Prints the outcome of the run at its end, and sets the exit code.

    Args:
        environment: Locust's environment of the run.
        accounts: the accounts of all processes.
        incomplete: a function that returns a sentence for each worker without a last report; on a worker, a sentence if
            the master is gone.
        results: the results of the tests; None on a worker.
    """

    def __init__(
        self,
        environment: Environment,
        accounts: Accounts,
        incomplete: Callable[[], Iterable[str]],
        results: Results | None = None,
    ) -> None:
        self._environment = environment
        self._accounts = accounts
        self._incomplete = incomplete
        self._results = results
        self._logged = False
        # The results were added as a listener before, so they have made the result of the test.
        environment.events.test_stop.add_listener(self.on_test_stop)

    def on_test_stop(self, **_: Any) -> None:
        """Print the result of a test that was started in the web UI."""
        if self._environment.web_ui is not None and not self._is_unattended():
            self._log_result()

    def judge(self) -> None:
        """Set the exit code. Call it after all users have stopped and all workers have reported."""
        environment, options = self._environment, options_of(self._environment)
        if environment.process_exit_code == USAGE_ERROR:
            return
        if list(self._incomplete()):
            environment.process_exit_code = INCOMPLETE
        elif not all(gate.met for gate in self._gates()):
            environment.process_exit_code = GATE_NOT_MET
        elif options.get("tcp_fail_on_verdict") and self._is_not_trusted():
            environment.process_exit_code = NOT_TRUSTED
        elif environment.process_exit_code is not None:
            return
        elif self._is_unattended() and self._why_no_success():
            environment.process_exit_code = options.get("exit_code_on_error", 1)
        elif self._results and not self._results.are_written:
            environment.process_exit_code = NOT_WRITTEN
        elif self._has_only_allowed_failures():
            environment.process_exit_code = 0

    def log(self) -> None:
        """Print the last lines, once."""
        if self._logged:
            return
        self._logged = True
        incomplete = list(self._incomplete())
        if incomplete or self._is_unattended():
            self._log_result()
            idle = [worker for worker, report in self._accounts.reports.items() if not report.get("users")]
            if idle and self._accounts.sums()["planned"]:
                logger.warning("workers %s had no user: their part of the arrival rate is missing", ", ".join(idle))
            if not incomplete and (reason := self._why_no_success()):
                logger.error("%s", reason)
            if any(gate.metric == "failures" for gate in gates_of(options_of(self._environment))):
                for kind, name in self._uncounted_failures():
                    logger.error("no gate counted all failures of %s %s: they fail the run", kind, printable(name))
        for reason in incomplete:
            logger.error(
                "incomplete: %s. Operations after the last report are not counted (exit code %d)", reason, INCOMPLETE
            )

    def _log_result(self) -> None:
        """Log the result. It begins on a new line, because the log's prefix would make the first line longer."""
        result = self._result
        if result:
            level = logging.INFO if result.verdict.status == TRUSTED else logging.WARNING
            if not all(gate.met for gate in result.gates):
                level = logging.ERROR
            logger.log(level, "the result:\n%s", _encodable(table(result)))
            return
        sums = self._accounts.sums()
        account = Account(**{name: sums[name] for name in Account.__dataclass_fields__})
        for line in account_lines(account, sums["peak"]):
            logger.info("%s", line)

    @property
    def _result(self) -> Result | None:
        return self._results.last if self._results else None

    def _gates(self) -> Sequence[GateOutcome]:
        return self._result.gates if self._result else ()

    def _has_only_allowed_failures(self) -> bool:
        """Whether operations failed, gates on `failures` have counted all failures, and nothing else went wrong."""
        environment = self._environment
        runner, errors = environment.runner, environment.stats.errors
        if not errors or (runner and runner.exceptions) or greenlet_failed():
            return False
        return not self._uncounted_failures()

    def _uncounted_failures(self) -> list[RowKey]:
        """The rows with failures that a gate on `failures` may not have counted."""
        failed: Counter[RowKey] = Counter()
        for error in self._environment.stats.errors.values():
            failed[error.method, error.name] += error.occurrences
        gates = gates_of(options_of(self._environment))
        return uncounted_failures(gates, self._result, failed) if self._result else list(failed)

    def _is_not_trusted(self) -> bool:
        return bool(self._result and self._result.verdict.status != TRUSTED)

    def _is_unattended(self) -> bool:
        return is_unattended(options_of(self._environment))

    def _why_no_success(self) -> str:
        """Why no operation was answered in this run; "" if one was."""
        sums = self._accounts.sums()
        if not sums["users"] and self._environment.stats.num_requests:
            return ""  # all users of this run are of other classes
        if sums["started"] == 0:
            return "no operation was started: the run ended before a user began one"
        if sums["ok"] and (sums["ok"] != sums["connected"] or sums["started"] == sums["connects"]):
            return ""
        happened = []
        if sums["failed"]:
            happened.append(f"failed operations: {sums['failed']}")
        if sums["aborted"]:
            happened.append(f"operations under way at the end: {sums['aborted']}")
        errors = [error for error in self._environment.stats.errors.values() if error.method == TCP]
        if errors:
            worst = max(errors, key=lambda error: error.occurrences)
            kind, _ = kind_and_sample(worst.error)
            happened.append(f"most frequent failure ({worst.occurrences}): {worst.name}: {kind}")
        else:
            happened.append("see --run-time and --tcp-request-timeout")
        return f"no answer came from {target_of(self._environment)}: {'; '.join(happened)}"


def _encodable(text: str) -> str:
    """A text with escapes for the characters that a log file in this locale cannot have."""
    encoding = locale.getpreferredencoding(False)
    return text.encode(encoding, "backslashreplace").decode(encoding)
