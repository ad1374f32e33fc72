"""Values of options: rates and their stages, durations, words, addresses of metrics pages."""

from __future__ import annotations

import argparse
import math
import re

import pytest

from geventecho.options import duration, metrics_target, metrics_url, one_of, rate_stages


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("100", ((100.0, math.inf),)),
        ("0.5", ((0.5, math.inf),)),
        ("1e3:90", ((1000.0, 90.0),)),
        ("100:30s,500:60s", ((100.0, 30.0), (500.0, 60.0))),
        (" 10 : 1h30m , 20:0.5s, 30", ((10.0, 5400.0), (20.0, 0.5), (30.0, math.inf))),
        ("5:1m30s", ((5.0, 90.0),)),
    ],
)
def test_a_rate_is_one_stage_or_several(text: str, stages: tuple[tuple[float, float], ...]) -> None:
    assert rate_stages(text) == stages


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a rate a second"),
        ("100/s", "'100/s' is not a rate a second above 0 and up to 1,000,000; write it like 100 or 100:30s,500:1m"),
        ("0", "'0' is not a rate a second"),
        ("-1", "'-1' is not a rate a second"),
        ("nan", "'nan' is not a rate a second"),
        ("inf", "'inf' is not a rate a second"),
        ("1000001", "up to 1,000,000"),
        ("10:", "'' is not a duration; write it like 30s, 5m or 1h30m"),
        ("10:0s", "'0s' is not a duration"),
        ("10:s", "'s' is not a duration"),
        ("10:1d", "'1d' is not a duration"),
        ("10:-5", "'-5' is not a duration"),
        ("10:5:5", "'5:5' is not a duration"),
        ("10,20:5s", "only the last stage may be without a duration"),
        ("10:5s,", "'' is not a rate a second"),
        (",".join(["1:1s"] * 101), "these are 101 stages; at most 100 are possible"),
    ],
)
def test_the_error_of_a_wrong_rate_says_how_to_write_it(text: str, message: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(message)):
        rate_stages(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("1.5", 1.5), (" 30s ", 30), ("1m", 60), ("1h30m", 5400), ("1m0.5s", 60.5)]
)
def test_a_duration_is_seconds_or_has_units(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "m", "1d", "nan", "1m1m", "one"])
def test_the_error_of_a_wrong_duration_says_how_to_write_it(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{text}' is not a duration; write it like 30s, 5m or 1h30m"):
        duration(text)


def test_one_of_takes_only_its_words() -> None:
    assert one_of("even", "poisson")("poisson") == "poisson"
    with pytest.raises(argparse.ArgumentTypeError, match="'Even' is not one of even, poisson"):
        one_of("even", "poisson")("Even")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:9100", "http://127.0.0.1:9100/metrics"),
        ("HTTP://echo.example:9100/", "http://echo.example:9100/metrics"),
        ("http://127.0.0.1:9100/metrics", "http://127.0.0.1:9100/metrics"),
        ("http://127.0.0.1:9100/echo/m?name=a", "http://127.0.0.1:9100/echo/m?name=a"),
        ("localhost:9100", "http://localhost:9100/metrics"),
        ("[::1]:9100/m", "http://[::1]:9100/m"),
        ("9100", "http://127.0.0.1:9100/metrics"),
    ],
)
def test_the_address_of_a_metrics_page_becomes_a_url(text: str, url: str) -> None:
    assert metrics_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "", "http://", "http://127.0.0.1", "127.0.0.1", "https://127.0.0.1:9100", "tcp://127.0.0.1:9100", "://a:1",
        "http://user:secret@a:9100", "http://a:0", "http://a:65536", "http://::1:9100", "http://a:9100/m#part",
        "http://a:9100/a b", "http://a:9100/\r\nHost: b", "http://a:9100?x=1", "a:1://b:2", "99999", "http://a:9100/é",
    ],
)  # fmt: skip
def test_other_text_is_no_address_of_a_metrics_page(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="is not the address of a metrics page"):
        metrics_url(text)


@pytest.mark.parametrize(
    "text",
    ["nonsense", "localhost:99999", "https://127.0.0.1:9090", "ssl://127.0.0.1:9090", "http://[::1]:9090", "fd:x"],
)
def test_the_advice_for_a_wrong_metrics_target_has_no_form_that_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        metrics_target(text)
    assert str(caught.value).startswith(f"{text!r} is not a target: ")
    assert str(caught.value).endswith("; write a port, host:port, tcp://host:port, unix:/path, unix:@name or fd:N")
    assert "tls://" not in str(caught.value)
