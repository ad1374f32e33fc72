"""The distributions of a result in the text format of HdrHistogram's percentiles (`.hgrm`), which other tools plot.

The format is that of `AbstractHistogram.outputPercentileDistribution` (HdrHistogram 2.2, https://hdrhistogram.org).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from geventecho.results.result import Distribution, Result

__all__ = ["hgrm_files"]

MILLISECOND: Final = 1000
"""A millisecond in microseconds."""
SUB_BUCKETS: Final = 256
"""The sub-buckets of `geventecho.histogram` as HdrHistogram counts them: the upper half of them is one octave."""
LONGEST_NAME: Final = 200


def hgrm_files(result: Result) -> dict[str, str]:
    """Return the texts of the files by their names: for each row a file of response times and one of service times.

    A file's name has the row's type and name, and `_response` or `_service`. A byte other than an ASCII letter, a digit
    or one of `._-~` is written as `%` and two hexadecimal digits. A long name is cut, and a hash of the whole name is
    added.
    """
    return {
        _file_name(f"{row.type}_{row.name}", kind.removesuffix("_us")): "".join(_lines(distribution))
        for row in result.rows
        for kind, distribution in row.distributions.items()
    }


def _file_name(row: str, kind: str) -> str:
    kept = row.encode("utf-8", "surrogatepass")
    safe = quote(kept, safe="")
    if len(safe) > LONGEST_NAME:
        safe = f"{safe[:LONGEST_NAME]}-{hashlib.sha256(kept).hexdigest()[:16]}"
    return f"{safe}_{kind}.hgrm"


def _lines(times: Distribution) -> Iterator[str]:
    yield f"{'Value':>12} {'Percentile':>14} {'TotalCount':>10} {'1/(1-Percentile)':>14}\n\n"
    for percentile, value, count in zip(times.percentiles, times.values, times.counts, strict=True):
        line = f"{value / MILLISECOND:12.3f} {percentile / 100:2.12f} {count:10d}"
        yield f"{line}\n" if percentile >= 100 else f"{line} {100 / (100 - percentile):14.2f}\n"
    mean, deviation, longest = (time / MILLISECOND for time in (times.mean, times.deviation, times.max))
    buckets = max(1, int(times.max * 1000).bit_length() - SUB_BUCKETS.bit_length() + 2)
    yield f"#[Mean    = {mean:12.3f}, StdDeviation   = {deviation:12.3f}]\n"
    yield f"#[Max     = {longest:12.3f}, Total count    = {times.counts[-1]:12d}]\n"
    yield f"#[Buckets = {buckets:12d}, SubBuckets     = {SUB_BUCKETS:12d}]\n"
