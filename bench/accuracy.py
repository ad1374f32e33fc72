"""`python -m bench.accuracy`: compares what load tests report with the true times of a server of known latency.

Our load test and the usual hand-written Locust user, each at a quarter, a half, three quarters and all of a core. The
rate for each share is found by short runs.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bench.contenders import BenchError
from bench.load.known import OURS, USUAL, Case, Load, Observed
from bench.machine import cores, describe
from bench.network import separate
from bench.publish import ACCURACY_RESULTS, TABLES
from bench.rounds import tell
from bench.tables import table
from bench.truth import PERCENTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bench.load.known import Mode

SHARES: Final = (25, 50, 75, 100)  # per cent of a core
USERS: Final = 500
FIRST_RATE: Final = 1000.0  # requests a second of the first short run; any generator can do it
SHORT_RUN: Final = 3.0  # seconds
WINDOW: Final = {"quick": 5.0, "full": 20.0}  # seconds
REPEATS: Final = {"quick": 1, "full": 3}
LOGNORMAL, CONSTANT, BIMODAL = "lognormal:2000:0.5", "constant:1000", "bimodal:1000:20000:0.02"
MODES: Final = {"poisson": "rate, Poisson", "even": "rate, even", "closed": "think time"}
HEADINGS: Final = (
    "load", "generator", "time", "CPU %", "requests/s", "received / planned", "D",
    *(f"true p{percent:g} µs" for percent in PERCENTS), *(f"p{percent:g}" for percent in PERCENTS), "others %",
)  # fmt: skip


@dataclass
class Row:
    """A case, the share of a core it was made for, and its runs."""

    case: Case
    share: int
    runs: list[Observed] = field(default_factory=list)


class Study:
    """All cases of a comparison.

    Args:
        load: where to run.
        window: seconds of a measured run.
        repeats: how many of them; the table has their medians.
    """

    def __init__(self, load: Load, window: float, repeats: int) -> None:
        self._load, self._window, self._repeats = load, window, repeats
        self.rows: list[Row] = []

    def measure(self, case: Case, shares: Sequence[int]) -> Iterator[Row]:
        """Run a case at each share of a core, in ascending order. Its rate does not count."""
        rate, busy = FIRST_RATE, self._run(replace(case, rate=FIRST_RATE), SHORT_RUN).busy
        for share in shares:
            rate *= share / busy
            rate *= share / self._run(replace(case, rate=rate), SHORT_RUN).busy
            row = Row(replace(case, rate=rate), share)
            row.runs += [self._run(row.case, self._window) for _ in range(self._repeats)]
            busy = statistics.median(run.busy for run in row.runs)
            self.rows.append(row)
            yield row

    def _run(self, case: Case, window: float) -> Observed:
        tell(f"{case.delay}, {MODES[case.mode]}, {case.generator}: {case.rate:,.0f}/s for {window:g} s")
        return self._load.run(case, window)


def lines_of(row: Row) -> list[list[str]]:
    """The table's lines of a row, one for each time that the generator reports: medians of its runs."""
    case, runs = row.case, row.runs
    rate = statistics.median(run.rate for run in runs)
    is_planned = runs[0].arrivals is not None
    true = [statistics.median(run.true[at] for run in runs) for at in range(len(PERCENTS))]
    lines = []
    for name in runs[0].reported:
        ratios = [
            statistics.median(run.reported[name][at] / run.true[at] for run in runs) for at in range(len(PERCENTS))
        ]
        lines.append(
            [
                f"{MODES[case.mode]}, {row.share} %",
                case.generator,
                name,
                f"{statistics.median(run.busy for run in runs):.0f}",
                f"{rate:,.0f}",
                f"{rate / case.rate:.4f}" if is_planned else "",
                f"{statistics.median(run.arrivals or 0 for run in runs):.3f}" if is_planned else "",
                *(f"{time:,.0f}" for time in true),
                *(f"{ratio:.3f}" for ratio in ratios),
                f"{max(run.taken for run in runs):.0f}",
            ]
        )
    return lines


def cases(*, quick: bool) -> list[tuple[Case, Sequence[int]]]:
    """What is compared, and at which shares of a core. A usual user has no rate of arrivals; it paces itself."""
    users = USERS if not quick else 200
    main: list[tuple[str, Mode]] = [(OURS, "poisson"), (OURS, "closed"), (USUAL, "even"), (USUAL, "closed")]
    if not quick:
        main.insert(1, (OURS, "even"))
    delays = {LOGNORMAL: SHARES} if quick else {LOGNORMAL: SHARES, CONSTANT: (50,), BIMODAL: (50,)}
    return [
        (Case(generator, mode, delay, users, FIRST_RATE), shares)
        for delay, shares in delays.items()
        for generator, mode in main
    ]


def write(output: Path, rows: Sequence[Row], warnings: Sequence[str]) -> None:
    """The tables as Markdown and every run as JSON, after each row: an interrupted comparison keeps what it has."""
    machine = describe()
    remarks = [*(f"{name}: {value}" for name, value in machine.items()), *warnings]
    parts = ["# Accuracy", "", *(f"- {remark}" for remark in remarks)]
    for delay in dict.fromkeys(row.case.delay for row in rows):
        lines = [line for row in rows if row.case.delay == delay for line in lines_of(row)]
        parts += ["", f"## {delay}", "", table(list(HEADINGS), lines)]
    (output / TABLES).write_text("\n".join(parts))
    (output / "runs.json").write_text(json.dumps({"machine": machine, "rows": [asdict(row) for row in rows]}, indent=1))


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
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # not without stopping the server
    try:
        options.output.mkdir(parents=True, exist_ok=True)
        server_cpu, locust_cpu = cores(None, None)
        shared = separate()
        study = Study(Load(server_cpu, locust_cpu, options.output / "log"), WINDOW[kind], REPEATS[kind])
        for case, shares in cases(quick=options.quick):
            for row in study.measure(case, shares):
                for line in lines_of(row):
                    print("  ".join(line), flush=True)
                write(options.output, study.rows, [shared] if shared else [])
    except (BenchError, OSError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nbench: interrupted; what was measured is in {options.output}", file=sys.stderr)
        return 130
    tell("")
    print(f"tables and all runs are in {options.output}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
