"""Starts and ends the plan of arrivals, and gives each process its part of the plan."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import gevent
from gevent import Greenlet, getcurrent
from locust.env import Environment
from locust.runners import MasterRunner, Runner, WorkerRunner

from geventecho.errors import ConfigError
from geventecho.loadtest.locust_internals import has_task_loop, participants
from geventecho.loadtest.measure import Arrivals, seconds_now, stages_after
from geventecho.loadtest.run.shared_seconds import CLOCKS_APART
from geventecho.loadtest.settings import PLAN_TYPES, Settings, given, option_check, options_of
from geventecho.loadtest.users import planner_of, tcp_users_of

__all__ = ["ArrivalPlan"]

logger = logging.getLogger("geventecho.loadtest")

PLAN: Final = "geventecho_plan"
"""The master's message to a worker: the worker's part of the plan, or None without a plan."""


@option_check
def check_task_loop(options: Mapping[str, Any]) -> None:
    """Check that users can follow a plan, if the options ask for one.

    Raises:
        ConfigError: users cannot follow a plan.
    """
    if given(options, "arrival_rate") and not has_task_loop():
        raise ConfigError("--tcp-arrival-rate: users cannot follow a plan: a plugin has replaced Locust's loop")


class ArrivalPlan:
    """Starts and ends the plan in this process, and sends each worker its part.

    The master sends the same start to all workers, so that they have the same phase. The part of a lost worker is lost.
    If a worker connects later, the rest of the plan is shared among all workers again.

    Args:
        environment: Locust's environment.
        runner: the runner of the environment.
        begun: called with stages and seed when a plan begins; not on a worker.
    """

    def __init__(
        self,
        environment: Environment,
        runner: Runner,
        begun: Callable[[Sequence[tuple[float, float]], int], None] = lambda *_: None,
    ) -> None:
        self._environment = environment
        self._runner = runner
        self._begun = begun
        self._planner = planner_of(environment)
        self._announced: dict[str, Any] = {}  # the plan's options
        self._plan: Mapping[str, Any] | None = None
        self._end: Greenlet | None = None
        environment.events.test_stopping.add_listener(self.on_test_stopping)
        if isinstance(runner, WorkerRunner):
            runner.register_message(PLAN, self.on_plan)
            runner.send_message(PLAN)
        else:
            environment.events.test_start.add_listener(lambda **_: self.announce())
            if isinstance(runner, MasterRunner):
                runner.register_message(PLAN, self.on_worker)

    def check(self, options: Mapping[str, Any]) -> None:
        """Check options that the web UI's form would set.

        Raises:
            ConfigError: a test runs, and its users would have to begin or end a plan.
        """
        if self._is_running() and (given(options, "arrival_rate") is None) != (self._plan is None):
            raise ConfigError("--tcp-arrival-rate: stop the test first; running users cannot begin or end a plan")

    def update(self) -> None:
        """Follow the current options if a test runs and the options have changed."""
        if self._is_running() and self._announced != self._options():
            self.announce()

    def announce(self) -> None:
        """Begin the plan of the options in all processes."""
        self._announced = options = self._options()
        plan: dict[str, Any] | None = None
        self._forget_end()
        if stages := options["arrival_rate"]:
            seed = random.SystemRandom().getrandbits(32) if options["seed"] is None else options["seed"]
            plan = {
                "stages": stages, "kind": options["arrivals"] or "even", "seed": seed, "start": seconds_now(),
                "worker": 0, "workers": 1,
            }  # fmt: skip
            shown = ", ".join(f"{rate:g} a second" + ("" if s == math.inf else f" for {s:g} s") for rate, s in stages)
            logger.info("tasks arrive by plan (%s, seed %d): %s; wait times are not used", plan["kind"], seed, shown)
            self._begun(stages, seed)
            if not math.isinf(seconds := sum(seconds for _, seconds in stages)):
                self._end = gevent.spawn_later(seconds, self._on_end)
        self._plan = plan
        if isinstance(self._runner, MasterRunner):
            self._share(self._runner, plan)
        else:
            self._follow(plan)

    def _share(self, runner: MasterRunner, plan: Mapping[str, Any] | None) -> None:
        workers = sorted(participants(runner))
        if plan and not workers:
            logger.error("this Locust does not name its workers: they do not follow the arrival rate")
        for index, worker in enumerate(workers):
            part = {**plan, "worker": index, "workers": len(workers)} if plan else None
            runner.send_message(PLAN, part, worker)

    def on_worker(self, **_: Any) -> None:
        """A worker has connected. If a test runs, the worker already has users, which wait for its part of the plan."""
        if self._plan is not None and self._is_running() and isinstance(self._runner, MasterRunner):
            now = seconds_now()
            passed = now - self._plan["start"]
            rest = {"stages": stages_after(self._plan["stages"], passed), "start": now}
            # With the same seed the first distances would repeat.
            self._share(self._runner, {**self._plan, **rest, "seed": f"{self._plan['seed']}/{passed}"})

    def on_plan(self, msg: Any, **_: Any) -> None:
        """Follow this worker's part of the plan, which the master has sent."""
        self._follow(msg.data)

    def on_test_stopping(self, **_: Any) -> None:
        """End the plan. The test ends by its run time, its last stage, the web UI or a signal."""
        self._forget_end()
        self._planner.stop()

    def _follow(self, plan: Mapping[str, Any] | None) -> None:
        if plan is None:
            self._planner.stop()
            return
        arrivals = Arrivals(plan["stages"], plan["kind"], plan["seed"])
        ahead = plan["start"] - seconds_now()
        if abs(ahead) > CLOCKS_APART:
            ahead = 0.0  # the clocks differ; the plan began when the master sent it
        start = time.perf_counter() + ahead
        instants = arrivals.instants(plan["worker"], plan["workers"])
        self._planner.follow(start, instants, self._max_lateness())

    def _max_lateness(self) -> float:
        options = options_of(self._environment)
        lateness: float | None = given(options, "max_lateness")
        if lateness is not None:
            return lateness
        limits = [Settings.of(options, found).request_timeout for found in tcp_users_of(self._environment)]
        return max((math.inf if limit is None else limit for limit in limits), default=math.inf)

    def _on_end(self) -> None:
        """End the test after the last stage, as Locust does after the last step of a `LoadTestShape`."""
        logger.info("the last stage of the arrival rate is over")
        if getattr(self._environment.parsed_options, "headless", False):
            self._runner.quit()
        else:
            self._runner.stop()

    def _forget_end(self) -> None:
        end, self._end = self._end, None
        if end is not None and end is not getcurrent():
            end.kill(block=False)

    def _is_running(self) -> bool:
        return self._runner.state in ("spawning", "running")

    def _options(self) -> dict[str, Any]:
        options = options_of(self._environment)
        return {name: given(options, name) for name in PLAN_TYPES}
