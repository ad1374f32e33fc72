"""A result as JSON."""

from __future__ import annotations

import json
from dataclasses import replace

from geventecho.results import as_json, json_text
from tests.results.samples import START, block, result, row


def test_the_keys_and_types_are_those_of_the_schema() -> None:
    made = result(row([block(START + second, [100.0] * 96, failed=4) for second in range(60)], 60))
    found = json.loads(json.dumps(as_json(made), allow_nan=False))
    assert found["schema"] == 1
    assert found["verdict"] == {"status": "trusted", "reasons": ["why"]}
    assert set(found["account"]) == {
        "planned", "sent", "late", "dropped", "started", "ok", "failed", "aborted", "connects", "reconnects",
    }  # fmt: skip
    (echo,) = found["rows"]
    assert {"type", "name", "ok", "failed", "rate", "bytes_sent", "bytes_received"} <= echo.keys()
    for kind in ("response_us", "service_us", "generator_delay_us", "read_delay_us", "offered_us"):
        assert set(echo[kind]) == {"p50", "p90", "p95", "p99", "p99_9", "p99_99", "mean", "max"}
        assert set(echo[kind]["p50"]) == {"value", "low", "high"}
        assert echo[kind]["p99_99"] is None
        assert isinstance(echo[kind]["mean"], float)
        assert isinstance(echo[kind]["max"], float)
    assert echo["offered_us"]["p99"]["value"] == echo["offered_us"]["p99"]["high"] == "lost"
    assert isinstance(echo["offered_us"]["p95"]["value"], float)


def test_a_row_without_stamps_has_no_read_delay() -> None:
    made = as_json(result(row([block(START, [100.0] * 100, kinds=["response", "service"])], 1)))
    assert made["rows"][0]["read_delay_us"] is None


def test_text_of_peers_is_escaped() -> None:
    text = json_text(replace(result(), target="\x1b[2J\udc80é"))
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["target"] == "\x1b[2J\udc80é"
