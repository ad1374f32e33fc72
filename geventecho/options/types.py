"""Types of option values: a function takes the text and returns the value; its error shows the right form."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable
from typing import Final

from geventecho.address import WRITE_TLS, Address
from geventecho.errors import AddressError

__all__ = [
    "duration",
    "file_mode",
    "limit",
    "metrics_target",
    "metrics_url",
    "one_of",
    "protocols",
    "rate_stages",
    "seconds",
    "seconds_above_zero",
    "target",
    "whole_number",
]

DURATION: Final = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,9}(?:\.\d+)?)s?)?", re.ASCII)
MAX_RATE: Final = 1e6
MAX_STAGES: Final = 100
METRICS_FORMS: Final = "a port, host:port, tcp://host:port, unix:/path, unix:@name or fd:N"
URL_PATH: Final = re.compile(r"[!-\"$-~]*")
"""A path with a query, without a fragment: a client does not send it."""


def seconds(text: str) -> float:
    """A number of seconds of 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds of 0 or more")
    return value


def duration(text: str) -> float:
    """A number of seconds of 0 or more, or a duration such as 30s, 5m or 1h30m."""
    found = DURATION.fullmatch(text.strip())
    if found is None or not any(found.groups()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration; write it like 30s, 5m or 1h30m")
    hours, minutes, rest = (float(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + rest


def seconds_above_zero(text: str) -> float:
    """A number of seconds above 0."""
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError("it must be above 0 seconds")
    return value


def limit(text: str) -> float:
    """A number above 0, for an option that has no limit by default."""
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError("it must be above 0; leave the option out for no limit")
    return value


def whole_number(minimum: int, maximum: int | None = None) -> Callable[[str], int]:
    """Return a type for whole numbers from `minimum` to `maximum`, both included."""
    bounds = f"{minimum} or more" if maximum is None else f"{minimum} to {maximum}"

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = minimum - 1
        if value < minimum or (maximum is not None and value > maximum):
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of {bounds}")
        return value

    return parse


def one_of(*words: str) -> Callable[[str], str]:
    """Return a type for one of these words."""

    def parse(text: str) -> str:
        if text not in words:
            raise argparse.ArgumentTypeError(f"{text!r} is not one of {', '.join(words)}")
        return text

    return parse


def file_mode(text: str) -> int:
    """Permissions of a file in octal digits, as in chmod(1): 660."""
    try:
        value = int(text, 8)
    except ValueError:
        value = -1
    if not 0 <= value <= 0o777:
        raise argparse.ArgumentTypeError(f"{text!r} is not a mode; write octal digits from 000 to 777, such as 660")
    return value


def protocols(text: str) -> tuple[str, ...]:
    """Names of protocols for ALPN, separated by commas, the preferred one first."""
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of protocol names; write it like echo/1,echo/2")
    return names


def rate_stages(text: str) -> tuple[tuple[float, float], ...]:
    """A rate, or stages RATE:DURATION,RATE:DURATION and so on; the last duration may be missing.

    Returns:
        For each stage its rate a second and its seconds, math.inf without a duration.
    """
    stages = tuple(_stage(part.strip()) for part in text.split(","))
    if len(stages) > MAX_STAGES:
        raise argparse.ArgumentTypeError(f"these are {len(stages)} stages; at most {MAX_STAGES} are possible")
    if math.inf in (length for _, length in stages[:-1]):
        raise argparse.ArgumentTypeError(f"{text!r}: only the last stage may be without a duration")
    return stages


def _stage(text: str) -> tuple[float, float]:
    rate_text, colon, duration_text = text.partition(":")
    try:
        rate = float(rate_text)
    except ValueError:
        rate = math.nan
    if not 0 < rate <= MAX_RATE:
        bounds = f"a rate a second above 0 and up to {MAX_RATE:,.0f}"
        raise argparse.ArgumentTypeError(f"{rate_text!r} is not {bounds}; write it like 100 or 100:30s,500:1m")
    if not colon:
        return rate, math.inf
    length = duration(duration_text)
    if not length:
        raise argparse.ArgumentTypeError(f"{duration_text!r} is not a duration above 0")
    return rate, length


def metrics_url(text: str) -> str:
    """Return the URL of a metrics page. The text is http://host:port/path, host:port, or a port of this machine."""
    scheme, _, rest = (text if "://" in text else f"http://{text}").partition("://")
    host, _, path = rest.partition("/")
    try:
        address = Address.parse(f"tcp://127.0.0.1:{host}" if host.isdecimal() else f"tcp://{host}")
        is_valid = scheme.lower() == "http" and address.port and URL_PATH.fullmatch(path)
    except AddressError:
        is_valid = False
    if not is_valid:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not the address of a metrics page; write http://host:port/metrics or host:port"
        )
    return f"http{str(address).removeprefix('tcp')}/{path or 'metrics'}"


def target(text: str) -> Address:
    """A target to listen on, as `geventecho.address` reads it."""
    try:
        return Address.parse(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(f"{error}, or fd:N") from None


def metrics_target(text: str) -> Address:
    """A target to serve metrics on. A port alone stands for 127.0.0.1."""
    if text.isdecimal():
        return Address("tcp", host="127.0.0.1", port=whole_number(0, 65535)(text))
    try:
        return Address.parse(text)
    except AddressError as error:
        reason = str(error).rpartition("; write ")[0].replace(WRITE_TLS, "metrics are not served over TLS")
        raise argparse.ArgumentTypeError(f"{reason}; write {METRICS_FORMS}") from None
