"""What the load test counts with: three digits, microseconds in every output, a tally that costs little."""

from __future__ import annotations

from pathlib import Path

from locust_script import run_users


def test_buckets_keep_three_digits(tmp_path: Path) -> None:
    text = """
import math, random
from geventecho.loadtest.precision import bucket
from locust import stats
worst, values = 0.0, [10 ** random.uniform(-2, 7) for _ in range(100_000)]
for value in values:
    worst = max(worst, abs(bucket(value) / value - 1))
keys = {bucket(value) for value in values}
answer({
    "worst": worst,
    "digits": all(float(f"{key:.3g}") == key for key in keys),
    "idempotent": all(bucket(key) == key for key in keys),
    "rising": all(bucket(a) <= bucket(b) for a, b in zip(sorted(values), sorted(values)[1:])),
    "floats": all(type(key) is float for key in keys),
    "zero": bucket(0.0),
    "installed": stats.bucket_response_time is bucket,
    "per_decade": sum(1 <= key < 10 for key in keys),
})
"""
    result = run_users(text, "", tmp_path)
    assert result.pop("worst") <= 0.005001
    assert result.pop("per_decade") <= 900
    assert result == {
        "digits": True,
        "idempotent": True,
        "rising": True,
        "floats": True,
        "zero": 0.0,
        "installed": True,
    }


def test_every_output_shows_microseconds(tmp_path: Path) -> None:
    text = """
import csv, io, os
from locust import stats
from locust.env import Environment
import geventecho.loadtest
environment = Environment()
for time in (0.1234, 0.2345, 0.3456, 12.345):
    environment.stats.log_request("TCP", "echo", time, 10)
environment.stats.log_request("TCP", "echo", None, 10)
environment.stats.log_error("TCP", "echo", "refused")
entry = environment.stats.get("echo", "TCP")
table = io.StringIO()
stats.StatsCSV(environment, stats.PERCENTILES_TO_REPORT).requests_csv(csv.writer(table))
rows = list(csv.DictReader(io.StringIO(table.getvalue())))
shown = entry.to_dict()
head, _, row, *_ = stats.get_stats_summary(environment.stats)
answer({
    "printed": entry.to_string(current=False).split()[:9],
    "percentiles": entry.percentile().split(),
    "csv": [rows[0][name] for name in ("50%", "99%", "100%")],
    "page": [shown["min_response_time"], shown["max_response_time"], shown["response_time_percentile_0.95"]],
    "widths": [len(head), len(row)],
})
"""
    result = run_users(text, "", tmp_path)
    assert result["printed"] == ["TCP", "echo", "5", "1(20.00%)", "|", "3.26", "0.123", "12.3", "0.346"]
    assert result["percentiles"] == ["TCP", "echo", "0.346", "0.346", *["12.3"] * 9, "5"]
    assert result["csv"] == ["0.346", "12.3", "12.3"]
    assert result["page"] == [0.123, 12.3, 12.3]
    assert result["widths"][0] == result["widths"][1], "the columns stand under their heads"


def test_the_cheap_tally_counts_as_locust_does(tmp_path: Path) -> None:
    text = """
import random, time
from locust import stats
from geventecho.loadtest import tally
clock = 1_000_000.0
time.time = tally.time = lambda: clock
stats.time.time = time.time
ours, theirs = (stats.RequestStats(use_response_times_cache=cache) for cache in (True, True))
for _ in range(5000):
    clock += random.choice((0, 0.001, 0.3, 1.7))
    name, length = random.choice("abc"), random.randrange(5000)
    response_time = random.choice((None, 0.0, random.expovariate(0.1), random.expovariate(0.001)))
    tally.log_request(ours, "TCP", name, response_time, length)
    theirs.total.log(response_time, length)
    theirs.entries[name, "TCP"].log(response_time, length)
compared = []
for key in ("total", "a", "b", "c"):
    pair = [kind.total if key == "total" else kind.entries[key, "TCP"] for kind in (ours, theirs)]
    left, right = (entry.serialize() | {"cache": entry.response_times_cache} for entry in pair)
    compared.append([left == right, left["num_requests"], len(left["cache"])])
answer(compared)
"""
    compared = run_users(text, "", tmp_path)
    assert [equal for equal, *_ in compared] == [True] * 4
    assert sum(requests for _, requests, _ in compared) == 10_000
    assert all(cached > 10 for _, _, cached in compared)
