"""The verdict of a run: each rule, on both sides of its threshold."""

from __future__ import annotations

from geventecho.results import Evidence, judge


def test_a_run_without_figures_has_too_few_samples() -> None:
    """Nothing was measured."""
    verdict = judge(Evidence(0.0, (), ()))
    assert verdict.status == "too-few-samples"
    assert verdict.reasons == (
        "measured for 0 s: measure for 10 s or more",
        "a p99 needs 368 samples, and no row has any: measure longer, or with more load",
    )
