"""`python -m bench.accuracy`: compares what load tests report with the true times of a server of known latency.

It runs our load test and the usual hand-written Locust user, each at a quarter, a half, three quarters and all of a
core. Short runs find the rate for each share.
"""

from __future__ import annotations

import argparse
import signal
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.accuracy_report import Row, plan_line, times_lines, write
from bench.contenders import BenchError
from bench.load.known import OURS, USUAL, Case, Load, Observed
from bench.machine import cores, describe
from bench.network import separate
from bench.publish import ACCURACY_RESULTS
from bench.rounds import print_progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.load.known import Mode

SHARES: Final = (25, 50, 75, 100)  # per cent of a core
USERS: Final = 500
FIRST_RATE: Final = 1000.0  # requests a second of the first short run; any generator can do it
SHORT_RUN: Final = 3.0  # seconds
WINDOW: Final = {"quick": 12.0, "full": 20.0}  # seconds; a verdict needs ten
REPEATS: Final = {"quick": 1, "full": 3}
LOGNORMAL, CONSTANT, BIMODAL = "lognormal:2000:0.5", "constant:1000", "bimodal:1000:20000:0.02"
ARRIVALS: Final = {"quick": (500,), "full": (250, 500, 1000, 2000)}  # a second
MESSAGES: Final = 20_000  # of a run for its arrivals; with fewer, chance alone makes a distance from the plan


class Study:
    """All cases of a comparison.

    Args:
        load: runs the cases.
        window: seconds of a measured run.
        repeats: the number of measured runs; the table has their medians.
    """

    def __init__(self, load: Load, window: float, repeats: int) -> None:
        self._load, self._window, self._repeats = load, window, repeats
        self.rows: list[Row] = []

    def measure(self, case: Case, shares: Sequence[int]) -> Iterator[Row]:
        """Run a case at each share of a core, in ascending order. The case's own rate does not count."""
        rate, busy = FIRST_RATE, self._run(replace(case, rate=FIRST_RATE), SHORT_RUN).busy
        for share in shares:
            rate *= share / busy
            rate *= share / self._run(replace(case, rate=rate), SHORT_RUN).busy
            row = Row(replace(case, rate=rate), share)
            row.runs += [self._run(row.case, self._window) for _ in range(self._repeats)]
            busy = statistics.median(run.busy for run in row.runs)
            self.rows.append(row)
            yield row

    def measure_at(self, case: Case, rates: Sequence[int]) -> Iterator[Row]:
        """Run a case at each of these rates, once and long."""
        for rate in rates:
            chosen = replace(case, rate=float(rate))
            row = Row(chosen, None, [self._run(chosen, MESSAGES / rate)])
            self.rows.append(row)
            yield row

    def _run(self, case: Case, window: float) -> Observed:
        print_progress(f"{case.delay}, {case.mode}, {case.generator}: {case.rate:,.0f}/s for {window:g} s")
        return self._load.run(case, window)


def cases(*, quick: bool) -> list[tuple[Case, Sequence[int]]]:
    """All cases, and the shares of a core for each. The usual user has no rate of arrivals; it paces itself."""
    users = 200 if quick else USERS
    main: list[tuple[str, Mode]] = [(OURS, "poisson"), (OURS, "closed"), (USUAL, "even"), (USUAL, "closed")]
    if not quick:
        main.insert(1, (OURS, "even"))
    delays = {LOGNORMAL: SHARES} if quick else {LOGNORMAL: SHARES, CONSTANT: (50,), BIMODAL: (50,)}
    return [
        (Case(generator, mode, delay, users, FIRST_RATE), shares)
        for delay, shares in delays.items()
        for generator, mode in main
    ]


def _rows(study: Study, kind: str) -> Iterator[Row]:
    for case, shares in cases(quick=kind == "quick"):
        yield from study.measure(case, shares)
    modes: tuple[Mode, ...] = ("poisson", "even")
    for mode in modes:
        yield from study.measure_at(Case(OURS, mode, CONSTANT, 100, FIRST_RATE), ARRIVALS[kind])


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.accuracy", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="shorter runs, one of each, one kind of server")
    parser.add_argument(
        "--output",
        type=Path,
        default=ACCURACY_RESULTS / time.strftime("%Y%m%d-%H%M%S"),
        help="a folder for the tables and all runs (bench/results/accuracy/DATE-TIME)",
    )
    options = parser.parse_args(argv)
    kind = "quick" if options.quick else "full"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that the server is stopped first
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        server_cpu, locust_cpu = cores(None, None)
        shared = separate()
        study = Study(Load(server_cpu, locust_cpu, options.output / "log"), WINDOW[kind], REPEATS[kind])
        machine = describe()
        for row in _rows(study, kind):
            lines = times_lines(row) if row.share is not None else [plan_line(row)]
            print("\n".join("  ".join(line) for line in lines), flush=True)
            write(options.output, study.rows, machine, [shared] if shared else [])
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nbench: interrupted; the figures so far are in {options.output}", file=sys.stderr)
        return 130
    print_progress("")
    print(f"tables and all runs are in {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
