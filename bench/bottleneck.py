"""Is the driver the bottleneck? Two runs, the second one with a driver that is slower by a known amount.

If the server limits the throughput, the slower driver only waits less, and the throughput stays. If the driver limits
it, the throughput falls by the added time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.figures import Measured
from bench.rounds import print_progress
from bench.scenarios import FULL

if TYPE_CHECKING:
    from bench.contenders import Contender
    from bench.rounds import Bench

__all__ = ["DRIVER", "NOTE", "SCENARIO", "TITLE", "slowed"]

DRIVER: Final = "driver"
HANDICAP: Final = 1.0  # microseconds a message, about an eighth of the driver's own time for one
SCENARIO: Final = next(scenario for scenario in FULL if scenario.name == "echo-1024-100")
TITLE: Final = f"Is the driver the bottleneck? 1 KiB, 100 connections, a driver {HANDICAP:g} µs a message slower"

NOTE: Final = (
    "Where the throughput falls by much less than the driver has become slower, the server sets the pace; "
    "where it falls as much, the driver does."
)


def slowed(bench: Bench, contenders: tuple[Contender, ...], rounds: int) -> list[Measured]:
    """A pair of runs for each contender and round.

    Raises:
        BenchError: a run failed.
    """
    runs = []
    for round_ in range(rounds):
        for place, contender in enumerate(contenders):
            print_progress(f"{DRIVER}: round {round_ + 1}/{rounds}, {place + 1}/{len(contenders)}: {contender.name}")
            usual = bench.run(SCENARIO, contender)
            slower = bench.run(SCENARIO, contender, ("--handicap", str(HANDICAP)))
            share = usual["driver"]["share"]
            cost = share * 1e6 / usual["messages_per_second"]
            figures = {
                "rate": usual["messages_per_second"],
                "slower": slower["messages_per_second"],
                "change": 100 * (slower["messages_per_second"] / usual["messages_per_second"] - 1),
                "server_busy": usual["server"]["share"] * 100,
                "driver_busy": share * 100,
                "driver_cost": cost,
                "slowed": 100 * HANDICAP / cost,
            }
            runs.append(Measured(DRIVER, contender.name, round_, place, figures, {"usual": usual, "slower": slower}))
    print_progress("")
    return runs
