"""Framings that the options of a command or a load test describe."""

from __future__ import annotations

from typing import Any

import pytest

from geventecho.errors import ConfigError
from geventecho.framing import (
    OPEN_MAX_SIZE,
    Exactly,
    LengthPrefixed,
    NoReply,
    Until,
    UntilClosed,
)
from geventecho.options.framing import from_options, pattern


def test_options_make_framings() -> None:
    assert from_options() is None
    until = from_options(until=r"\r\n")
    assert isinstance(until, Until)
    assert until.delimiter == b"\r\n"
    exactly = from_options(exactly=0)
    assert isinstance(exactly, Exactly)
    quiet = from_options(quiet=0.5)
    assert quiet is not None
    assert quiet.quiet == 0.5
    assert isinstance(from_options(none=True), NoReply)
    assert isinstance(from_options(close=True), UntilClosed)


def test_the_size_limit_of_a_reply_is_an_option() -> None:
    options: list[dict[str, Any]] = [{"until": "x"}, {"length_prefix": ">I"}, {"quiet": 1.0}, {"close": True}]
    for given in options:
        framing = from_options(**given, max_size=1000)
        assert framing is not None
        assert framing.max_size == 1000
    exactly = from_options(exactly=5000, max_size=1000)
    assert exactly is not None
    assert exactly.max_size == 5000, "an exact size is its own limit"
    until = from_options(until="x")
    assert until is not None
    assert until.max_size == OPEN_MAX_SIZE


@pytest.mark.parametrize(
    ("text", "layout", "offset", "includes_itself"),
    [(">I", ">I", 0, False), ("<H,4", "<H", 4, False), (">I, 1, self", ">I", 1, True)],
)
def test_an_option_describes_a_length_prefix(text: str, layout: str, offset: int, includes_itself: bool) -> None:
    framing = from_options(length_prefix=text)
    assert isinstance(framing, LengthPrefixed)
    assert (framing.prefix.format, framing.offset, framing.includes_itself) == (layout, offset, includes_itself)


@pytest.mark.parametrize("text", ["", ">I,x", ">I,1,me", ">I,1,self,2", ">I,-1", ">I,99999999999", ">I," + "9" * 5000])
def test_a_wrong_length_prefix_option_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^--reply-length-prefix: "):
        from_options(length_prefix=text)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        ({"until": r"\q"}, "--reply-until: '\\q' is not an escape; write \\\\ for a backslash"),
        ({"until": ""}, "--reply-until: "),
        ({"exactly": -3}, "--reply-exactly: "),
        ({"exactly": 10**20}, "--reply-exactly: "),
        ({"quiet": float("nan")}, "--reply-quiet: "),
    ],
)
def test_an_error_names_its_option(given: dict[str, Any], option: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_options(**given)
    assert str(caught.value).startswith(option)
    assert "encoding" not in str(caught.value), "a delimiter has no encoding"


@pytest.mark.parametrize(
    "text", ["(", "(" * 6000, "a{99999999999999}", "[", "\ud800"], ids=["open", "deep", "count", "set", "surrogate"]
)
def test_a_wrong_pattern_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        pattern(text)
    assert len(str(caught.value).splitlines()) == 1


def test_a_pattern_matches_any_bytes_without_a_warning() -> None:
    found = pattern("^\udcff[[x]")  # an argument's byte that is not UTF-8, as Python decodes it
    assert found.search(b"\xff[")
    assert not found.search(b"x\xff[")


def test_two_options_exclude_each_other() -> None:
    with pytest.raises(ConfigError, match="--reply-until and --reply-none: a reply ends in one way"):
        from_options(until="x", none=True)
