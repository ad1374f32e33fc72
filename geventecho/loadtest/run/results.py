"""The result of a test: its data are collected while the test runs; it is made and written when the test stops.

Each worker sends its blocks and its health with every report of Locust. A run of one process collects its own blocks
and health once a second. So the blocks of a killed worker count up to its last report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final

import gevent
from gevent import Greenlet
from gevent.lock import Semaphore
from locust import LoadTestShape
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from geventecho.errors import ConfigError
from geventecho.loadtest.locust_internals import participants, worker_name
from geventecho.loadtest.measure import seconds_now
from geventecho.loadtest.run.accounts import Accounts
from geventecho.loadtest.run.attached import attach, attached
from geventecho.loadtest.run.description import argv_of, command_of, failures_in, machine, others_in, target_of
from geventecho.loadtest.run.gathering import Gathering
from geventecho.loadtest.run.live import Live
from geventecho.loadtest.run.result_files import write_result_files
from geventecho.loadtest.run.shared_seconds import CLOCKS_APART, SharedSeconds
from geventecho.loadtest.settings import gates_of, given, options_of
from geventecho.results import Block, Collection, Facts, Result, RowKey, ServerAccount

__all__ = ["Results", "WorkerResults", "result_of"]

# The keys of a worker's blocks, health and clock in its reports.
BLOCKS: Final = "geventecho_blocks"
HEALTH: Final = "geventecho_health"
CLOCK: Final = "geventecho_clock"
LOCAL: Final = "local"
"""The id of the only process."""


class WorkerResults:
    """The worker's side: sends blocks and health with each report.

    Args:
        environment: Locust's environment.
        runner: the runner of the environment.
    """

    def __init__(self, environment: Environment, runner: WorkerRunner) -> None:
        SharedSeconds(runner)
        self._gathering = Gathering(environment)
        self._lock = Semaphore()
        environment.events.report_to_master.add_listener(self.on_report_to_master)

    def on_report_to_master(self, data: dict[str, Any], **_: Any) -> None:
        """Add this worker's blocks and health to its report."""
        blocks, data[HEALTH], data[CLOCK] = self._gathering.take_blocks(), self._gathering.take_health(), seconds_now()
        data[BLOCKS] = packed = []
        with self._lock:  # the last report must come after all other reports
            for row, block in blocks:
                packed.append([*row, block.pack()])
                _pause()


class Results:
    """The side of the master, or of the only process.

    Args:
        environment: Locust's environment.
        runner: the runner of the environment.
        accounts: the accounts of all processes.
        why_incomplete: a function that returns why a worker's numbers are incomplete, by the worker's id.
        server_account: a function that returns the account of both ends; None without --tcp-account.

    Attributes:
        last: the result of the last test that stopped.
        are_written: whether all files of this result were written.
    """

    def __init__(
        self,
        environment: Environment,
        runner: Runner,
        accounts: Accounts,
        why_incomplete: Callable[[], Mapping[str, str]],
        server_account: Callable[[], ServerAccount | None],
    ) -> None:
        self._environment = environment
        self._runner = runner
        self._accounts = accounts
        self._seconds = SharedSeconds(runner)
        self._why_incomplete = why_incomplete
        self._server_account = server_account
        self._gathering = None if isinstance(runner, MasterRunner) else Gathering(environment)
        self._pending: Iterator[tuple[RowKey, Block]] = iter(())
        self._live = Live(environment, self._facts, self.incomplete)
        self._collection: Collection | None = None
        self._started_at = ""
        self._seed: int | None = None
        self._shape: LoadTestShape | None = None
        self._asked: tuple[int, float] | None = None
        self._ticker: Greenlet | None = None
        self._clocks: dict[str, int] = {}
        self.last: Result | None = None
        self.are_written = True
        events = environment.events
        events.test_start.add_listener(self.on_test_start)
        events.test_stopping.add_listener(self.on_test_stopping)
        events.test_stop.add_listener(self.on_test_stop)
        events.reset_stats.add_listener(self.on_reset_stats)
        events.spawning_complete.add_listener(self.on_spawning_complete)
        if isinstance(runner, MasterRunner):
            events.worker_report.add_listener(self.on_worker_report)
        self._watch_shape()
        attach(environment, self)

    def on_test_start(self, **_: Any) -> None:
        """Begin a new test."""
        self._started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._pending = iter(())
        self._clocks.clear()
        self._seed = None
        warm_up: float = given(options_of(self._environment), "warm_up") or 0.0
        self._collection = collection = self._live.begin(self._seconds.begin(), warm_up)
        for worker in participants(self._runner) if isinstance(self._runner, MasterRunner) else (LOCAL,):
            self._live.change(Collection.add, worker, ())
        self._watch_shape()
        if self._environment.shape_class is not None and self._asked is not None:
            self._live.change(Collection.follow_shape, collection.timeline.begun, *self._asked)
        self._ticker = gevent.spawn(self._tick)

    def follow_plan(self, stages: Sequence[tuple[float, float]], seed: int) -> None:
        """Note that a plan of arrivals begins."""
        self._seed = seed
        self._live.change(Collection.follow_plan, seconds_now(), stages)

    def on_worker_report(self, client_id: str, data: dict[str, Any], **_: Any) -> None:
        """Add a worker's report."""
        if self._collection is not None:
            blocks = [((kind, name), packed) for kind, name, packed in data.get(BLOCKS, ())]
            ahead = self._ahead(client_id, data.get(CLOCK))
            self._live.change(Collection.add, client_id, blocks, data.get(HEALTH, ()), ahead)

    def on_reset_stats(self, **_: Any) -> None:
        """Restart the measured part: the statistics were reset in the web UI."""
        self._live.change(Collection.restart, seconds_now())

    def on_spawning_complete(self, **_: Any) -> None:
        """With --reset-stats restart the measured part: all users run, and Locust resets its statistics now."""
        if self._environment.reset_stats:
            self.on_reset_stats()

    def on_test_stopping(self, **_: Any) -> None:
        """End the test. Operations that end later still count, but their time is not part of the test."""
        if self._collection is not None and self._collection.timeline.ended is None:
            self._live.change(Collection.end, seconds_now())

    def on_test_stop(self, **_: Any) -> None:
        """Make and write the result: all users have stopped, and all workers have reported."""
        if self._ticker is not None:
            self._ticker.kill()
            self._ticker = None
        if self._collection is None:
            return
        self.last = self.current()
        self._live.end(self.last)
        self.are_written = write_result_files(options_of(self._environment), self.last)

    def current(self) -> Result:
        """The result of the running test up to now, or of the last test.

        Raises:
            ConfigError: there was no test.
        """
        if self._collection is None:
            raise ConfigError("there is no result: no test has been started")
        self._gather()
        return self._collection.result(seconds_now(), self._facts(), _pause)

    def _facts(self) -> Facts:
        environment, incomplete = self._environment, self._why_incomplete()
        return Facts(
            target=target_of(environment),
            argv=argv_of(environment),
            started_at=self._started_at,
            command=command_of(environment, self._seed),
            environment=machine(),
            sums=self._accounts.sums(incomplete),
            failures=failures_in(environment),
            names={worker: self._name(worker) for worker in self._accounts.reports.keys() | incomplete.keys()},
            incomplete=incomplete,
            gates=tuple(gate.judge for gate in gates_of(options_of(environment))),
            other_users=others_in(environment),
            server_account=self._server_account(),
        )

    def _ahead(self, worker: str, clock: float | None) -> int:
        """The seconds by which a worker's clock is ahead of ours, according to the worker's first report.

        The value is 0 if the difference may be the travel time of the report.
        """
        if worker not in self._clocks:
            apart = 0.0 if clock is None else clock - seconds_now()
            self._clocks[worker] = round(apart) if abs(apart) > CLOCKS_APART else 0
        return self._clocks[worker]

    def incomplete(self) -> list[str]:
        """A sentence for each worker whose numbers are incomplete."""
        return [f"worker {self._name(worker)} {why}" for worker, why in self._why_incomplete().items()]

    def _tick(self) -> None:
        while True:
            gevent.sleep(1)
            self._live.change(Collection.count_users, seconds_now(), self._runner.user_count)
            self._gather()

    def _gather(self) -> None:
        """Collect the blocks and the health of this process up to now."""
        if self._gathering is not None:
            self._live.change(Collection.add, LOCAL, (), self._gathering.take_health())
            self._pending = chain(self._pending, self._gathering.take_blocks())
            for row, block in self._pending:
                self._live.change(Collection.add, LOCAL, [(row, block.pack())])
                _pause()

    def _name(self, worker: str) -> str:
        return worker_name(self._runner, worker) if isinstance(self._runner, MasterRunner) else worker

    def _watch_shape(self) -> None:
        """Watch the users and the spawn rate that the shape asks for. The web UI may change the shape for each test."""
        shape = self._environment.shape_class
        if shape is None or shape is self._shape:
            return
        self._shape, self._asked = shape, None
        tick = shape.tick

        def watched() -> Any:
            asked = tick()
            if asked is not None:
                self._on_asked(int(asked[0]), float(asked[1]))
            return asked

        shape.tick = watched  # type: ignore[method-assign]

    def _on_asked(self, users: int, spawn_rate: float) -> None:
        self._asked = (users, spawn_rate)
        if self._collection is not None and self._collection.timeline.ended is None:
            self._live.change(Collection.follow_shape, seconds_now(), users, spawn_rate)


def _pause() -> None:
    """Let other greenlets run, such as users and the heartbeats of workers: many rows take long."""
    gevent.sleep(0)


def result_of(environment: Environment) -> Result:
    """The result of the running test up to now, or of the last test.

    The call takes some milliseconds for each row. On a master the result has the workers' reports up to now. Workers
    report every three seconds.

    Args:
        environment: Locust's environment, after `install`; not the environment of a worker.

    Raises:
        ConfigError: no test was started, `install` was not called, or this process is a worker.
    """
    results = attached(environment, Results)
    if results is None:
        raise ConfigError(
            "there is no result here: call install(environment) first, on the master if there are workers"
        )
    return results.current()
