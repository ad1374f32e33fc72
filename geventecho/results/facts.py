"""Facts: the parts of a `Result` that do not come from the record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from geventecho.results.result import Failures, GateOutcome, Result, Value
from geventecho.results.server_account import ServerAccount

__all__ = ["Facts"]


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a run that its record does not have. They can be pickled.

    Attributes:
        target, argv, started_at, command, environment, other_users, server_account: see `Result`.
        sums: the account of all processes, by the names of `Account` and `Connections`.
        failures: the failures of all rows, rows of other users included.
        names: the names of workers by their ids; a worker without a name here is named by its id.
        incomplete: why a worker's numbers are incomplete, by its id.
        gates: functions that judge the result.
    """

    target: str
    argv: tuple[str, ...]
    started_at: str
    command: Mapping[str, Value]
    environment: Mapping[str, Value]
    sums: Mapping[str, int]
    failures: tuple[Failures, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    incomplete: Mapping[str, str] = field(default_factory=dict)
    gates: tuple[Callable[[Result], GateOutcome], ...] = ()
    other_users: str = ""
    server_account: ServerAccount | None = None

    def name(self, worker: str) -> str:
        """The name of a worker."""
        return self.names.get(worker, worker)
