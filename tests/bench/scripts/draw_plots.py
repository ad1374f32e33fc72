"""Draws plots of made-up figures into a folder: `draw_plots.py FOLDER`. The comparison's own environment runs it."""

import sys
from pathlib import Path

from bench.figures import Spread, Summary
from bench.plots import growth_plot, scenario_plot

KEYS = ("connect", "neighbours", "rate", "user", "system")

folder = Path(sys.argv[1])
for name, figure in (("zero", 0.0), ("one", 1.0)):
    summaries = [
        Summary(contender, {key: Spread.of([value]) for key in KEYS})
        for contender, value in (("<ours> & co", figure), ("peer", 1000.0))
    ]
    for kind in ("burst", "echo"):
        (folder / f"{kind}-{name}.svg").write_text(scenario_plot(kind, "a < b", summaries))
(folder / "growth.svg").write_text(growth_plot("a < b", "µs", {"<ours> & co": [(10, 1.0), (100, 200.0)]}))
