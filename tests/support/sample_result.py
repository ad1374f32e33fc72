"""A plausible Result as JSON, of any length and number of rows, for tests of pages and plots.

Times are lognormal. Their level wanders, and there is a slow minute in the middle. The same seed gives the same value.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from statistics import NormalDist
from typing import Any, Final

from geventecho.results import FLOORS

__all__ = ["sample_result"]

MAX_POINTS: Final = 300
SPREAD: Final = 0.45  # of the logarithm of a time
SLOW: Final = 2.5  # times the usual level, in the slow minute
NORMAL: Final = NormalDist()
BINS_PER_DECADE: Final = 20
PERCENTILES: Final = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9, "p99_99": 99.99}

# Names as a peer or a tester may choose them.
NAMES: Final = (
    "connect", "echo", "log in", "read <b>bold</b> & \"quoted\"", "</script><script>alert(1)</script>",
    "a name that is long, as names made of a whole address are: tcp://example.invalid:1234/with/a/path",
)  # fmt: skip


def sample_result(*, seconds: int = 1800, rows: int = 20, rate: float = 1000, seed: int = 1) -> dict[str, Any]:
    """Return a Result as `as_json` does.

    Args:
        seconds: the length of the test. The first tenth is warm-up.
        rows: their number; the first has the connects.
        rate: good operations a second of all rows, without connects.
        seed: of the random numbers.
    """
    draw = random.Random(seed)
    warm_up = seconds // 10
    measured = seconds - warm_up
    keys = [("TCP", NAMES[index] if index < len(NAMES) else f"operation {index}") for index in range(rows)]
    rates = [1.0, *(rate / max(1, rows - 1) for _ in keys[1:])]
    medians = [150 * 1.25**index for index in range(rows)]
    made = [_row(key, each, median, measured) for key, each, median in zip(keys, rates, medians, strict=True)]
    operations = sum(row["ok"] for row in made)
    return {
        "schema": 1,
        "target": "tcp://127.0.0.1:8090",
        "argv": ["geventecho", "load", "127.0.0.1:8090", "--users", "100", "--tcp-gate", "echo p99 < 5ms"],
        "started_at": "2026-01-02T03:04:05.678+00:00",
        "duration_s": float(measured),
        "command": {"user_classes": "EchoUser", "users": 100, "spawn_rate": 10.0, "arrival_rate": rate},
        "environment": {"geventecho": "0.1.0", "python": "3.11.7", "cpus": 2},
        "verdict": {"status": "unsteady", "reasons": ["echo was slow for a minute: measure for longer"]},
        "gates": [{"expression": "echo p99 < 5ms", "met": True, "value": "p99 0.54 ms [0.51, 0.60]", "reason": ""}],
        "account": {
            "planned": operations, "sent": operations, "late": 3, "dropped": 0, "started": operations + 7,
            "ok": operations, "failed": 7, "aborted": 0, "connects": 100, "reconnects": 2,
        },
        "connections": {"open": 100, "opening": 0, "lost": 2, "connects": 102, "reconnects": 2, "peak": 10},
        "rate": rate,
        "planned_rate": rate,
        "bytes_sent_rate": 1024 * rate,
        "bytes_received_rate": 1024 * rate,
        "bytes_sent": 1024 * operations,
        "bytes_received": 1024 * operations,
        "rows": made,
        "warm_up": {"duration_s": float(warm_up), "rows": []} if warm_up else None,
        "stages": [
            {"start_s": float(start), "duration_s": seconds / 3, "users": None, "spawn_rate": None,
             "rate": {"planned": rate, "achieved": rate}, "rows": []}
            for start in sorted({0, seconds // 3, 2 * seconds // 3})
        ],
        "stages_left_out": 0,
        "workers": [],
        "failures": [{"type": "TCP", "name": "echo", "kind": "reset", "count": 7, "sample": "<i>Connection reset</i>"}],
        "other_users": "",
        "notes": [],
        "server_account": None,
        "series": _series(keys, rates, medians, seconds, warm_up, draw),
    }  # fmt: skip


def _row(key: tuple[str, str], rate: float, median: float, seconds: int) -> dict[str, Any]:
    ok = round(rate * seconds)
    response, service = _times(median, ok), _times(0.9 * median, ok)
    return {
        "type": key[0], "name": key[1], "setup": key[1] in ("connect", "log in"), "ok": ok, "failed": 0,
        "dropped": 0, "rate": rate, "bytes_sent": 1024 * ok, "bytes_received": 1024 * ok, "clock_steps": 0,
        "response_us": response, "service_us": service,
        "generator_delay_us": _times(20, ok), "read_delay_us": _times(15, ok), "first_byte_us": None,
        "offered_us": response, "failed_times": {}, "missing": {},
        "intervals": {"method": "bootstrap", "blocks": seconds, "block_s": 1, "block_length": 2, "unsteady": False},
        "distributions": {"response_us": _distribution(median, ok), "service_us": _distribution(0.9 * median, ok)}
        if ok else {},
    }  # fmt: skip


def _quantile(median: float, share: float) -> float:
    return round(median * math.exp(SPREAD * NORMAL.inv_cdf(share)), 1)


def _times(median: float, count: int) -> dict[str, Any]:
    def percentile(percent: float) -> dict[str, float] | None:
        if count < FLOORS[percent]:
            return None
        value = _quantile(median, percent / 100)
        wide = 2 * math.sqrt((1 - percent / 100) * percent / 100 / count) / (1 - percent / 100)
        return {
            "value": value,
            "low": round(value * (1 - min(wide, 0.5) / 2), 1),
            "high": round(value * (1 + wide / 2), 1),
        }

    longest = _quantile(median, 1 - 0.5 / count) if count else None
    return {key: percentile(percent) for key, percent in PERCENTILES.items()} | {
        "mean": round(median * math.exp(SPREAD**2 / 2), 1) if count else None,
        "max": longest,
    }


def _distribution(median: float, count: int) -> dict[str, Any]:
    """Five percentiles in each half of the distance to 100, and 100."""
    percentiles = [0.0]
    while (100 - percentiles[-1]) / 100 * count >= 1:
        halves = math.floor(math.log2(100 / (100 - percentiles[-1]))) + 1
        percentiles.append(percentiles[-1] + 100 / (5 * 2**halves))
    longest = _quantile(median, 1 - 0.5 / count)
    shares = [min(max(percent / 100, 0.5 / count), 1 - 0.5 / count) for percent in percentiles]
    return {
        "percentiles": [*percentiles, 100.0],
        "values": [*(_quantile(median, share) for share in shares), longest],
        "counts": [*(math.ceil(share * count) for share in shares), count],
        "mean": round(median * math.exp(SPREAD**2 / 2), 1),
        "deviation": round(median * SPREAD, 1),
        "max": longest,
    }


def _series(
    keys: list[tuple[str, str]],
    rates: list[float],
    medians: list[float],
    seconds: int,
    warm_up: int,
    draw: random.Random,
) -> dict[str, Any]:
    width = max(1, math.ceil(seconds / MAX_POINTS))
    at = list(range(0, seconds, width))
    levels = [
        (SLOW if seconds // 2 <= start < seconds // 2 + 60 else 1)
        * math.exp(0.1 * math.sin(start / 70) + draw.gauss(0, 0.04))
        for start in at
    ]
    rows = [
        {"type": key[0], "name": key[1]} | _row_series(rate * width, width, [median * level for level in levels], draw)
        for key, rate, median in zip(keys, rates, medians, strict=True)
    ]
    total = sum(rates[1:])

    def about(middle: float, spread: float) -> list[float]:
        return [round(max(0.0, middle + draw.gauss(0, spread)), 3) for _ in at]

    ramp = [min(100.0, 10.0 * (start + width)) for start in at]
    run = {
        "users": ramp,
        "open": ramp,
        "opening": [10.0 if users < 100 else 0.0 for users in ramp],
        "lost": [1.0 if index == len(at) // 2 else 0.0 for index in range(len(at))],
        "connects": [10.0 if users < 100 else 0.0 for users in ramp],
        "planned": [total] * len(at),
        "achieved": about(total, total / 100),
        "failed": [round(total / 50, 3) if level > SLOW * 0.8 else 0.0 for level in levels],
        "bytes_sent": about(total * 1024, total * 10),
        "bytes_received": about(total * 1024 * 1.5, total * 10),
        "in_flight": about(total / 1000, 0.5),
        "loop_lag_us": [round(draw.expovariate(1 / 900), 1) for _ in at],
        "cpu": [min(1.0, share) for share in about(0.45, 0.05)],
        "generator_delay_p99_us": about(320, 60),
        "read_delay_p99_us": [None if index % 50 == 7 else value for index, value in enumerate(about(180, 30))],
    }
    return {"width_s": width, "measured_from_s": warm_up, "at_s": at, "run": run, "rows": rows}


def _row_series(count: float, width: int, medians: list[float], draw: random.Random) -> dict[str, Any]:
    counts = [max(0, round(draw.gauss(count, math.sqrt(count)))) for _ in medians]
    columns: dict[str, list[Any]] = {"ok": [number / width for number in counts], "failed": [0.0] * len(counts)}

    def column(of: Callable[[dict[str, Any]], Any], scale: float = 1) -> list[Any]:
        return [of(_times(median * scale, number)) for median, number in zip(medians, counts, strict=True)]

    for key in ("p50", "p90", "p99"):
        found = column(lambda times, key=key: times[key])  # type: ignore[misc]
        columns[f"{key}_us"] = [one and one["value"] for one in found]
        columns[f"{key}_low_us"] = [one and one["low"] for one in found]
        columns[f"{key}_high_us"] = [one and one["high"] for one in found]
    columns["max_us"] = column(lambda times: times["max"])
    for key in ("p50", "p99"):
        columns[f"service_{key}_us"] = column(lambda times, key=key: times[key] and times[key]["value"], 0.9)  # type: ignore[misc]
    columns["heat"] = [_heat(median, number, draw) for median, number in zip(medians, counts, strict=True)]
    return columns


def _heat(median: float, count: int, draw: random.Random) -> list[int]:
    flat: list[int] = []
    below = 0.0
    first = math.floor(BINS_PER_DECADE * math.log10(median / 8))
    for bin_ in range(max(0, first), first + 2 * BINS_PER_DECADE):
        upper = NORMAL.cdf((math.log(10 ** ((bin_ + 1) / BINS_PER_DECADE) / median)) / SPREAD)
        number = math.floor(count * (upper - below) + draw.random())
        below = upper
        if number:
            flat += bin_, number
    return flat
