"""Distributions in HdrHistogram's text format."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from geventecho.results import Distribution, Result, hgrm_files
from tests.results.samples import START, block, result, row

# What HdrHistogram 2.2 prints for the same figures.
PRINTED = """\
       Value     Percentile TotalCount 1/(1-Percentile)

       0.100 0.000000000000          1           1.00
       9.903 0.500000000000        500           2.00
     998.399 0.999044995049        999        1047.11
     998.399 1.000000000000       1000
#[Mean    =      332.933, StdDeviation   =      297.862]
#[Max     =      998.399, Total count    =         1000]
#[Buckets =           23, SubBuckets     =          256]
"""


def of_rows(*keys: tuple[str, str]) -> Result:
    return result(*(row([block(START, [100.0, 900.0])], 1, key) for key in keys))


def test_a_file_has_the_lines_that_hdrhistogram_prints() -> None:
    figures = Distribution(
        percentiles=(0.0, 50.0, 99.9044995049, 100.0), values=(100.0, 9_903.0, 998_399.0, 998_399.0),
        counts=(1, 500, 999, 1000), mean=332_932.6, deviation=297_862.2, max=998_399.0,
    )  # fmt: skip
    one = of_rows(("TCP", "echo")).rows[0]
    files = hgrm_files(result(replace(one, distributions={"service_us": figures})))
    assert files == {"TCP_echo_service.hgrm": PRINTED}


def test_there_is_a_file_of_each_time_of_each_row() -> None:
    files = hgrm_files(of_rows(("TCP", "connect"), ("TCP", "echo")))
    assert set(files) == {f"TCP_{name}_{kind}.hgrm" for name in ("connect", "echo") for kind in ("response", "service")}
    lines = files["TCP_echo_response.hgrm"].splitlines()
    assert re.fullmatch(r" +0\.900 1\.000000000000 +2", lines[-4])
    assert "Total count    =            2]" in lines[-2]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/", "..", "a\0b", "\n", "é\udc80", "%2F", "n" * 3000])
def test_file_names_are_safe(name: str) -> None:
    made = hgrm_files(of_rows(("TCP", name)))
    assert len(made) == 2
    for file in made:
        assert re.fullmatch(r"TCP_[A-Za-z0-9._~%-]+_(response|service)\.hgrm", file)
        assert len(file) < 255


def test_file_names_are_unique() -> None:
    names = ["a b", "a_b", "a/b", "a%20b", "A b", "n" * 300, "n" * 301, "n" * 200]
    assert len(hgrm_files(of_rows(*(("TCP", name) for name in names)))) == 2 * len(names)
