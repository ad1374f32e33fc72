"""Types of option values: text in, value out, or an error that says what to write."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable

from geventecho.address import Address
from geventecho.errors import AddressError

__all__ = ["limit", "seconds", "seconds_above_zero", "target", "whole_number"]


def seconds(text: str) -> float:
    """A number of seconds of 0 or more."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds of 0 or more")
    return value


def seconds_above_zero(text: str) -> float:
    """A number of seconds above 0."""
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError("it must be above 0 seconds")
    return value


def limit(text: str) -> float:
    """A number above 0, for an option that sets no limit when it is left out."""
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


def target(text: str) -> Address:
    """A target, as `geventecho.address` reads it."""
    try:
        return Address.parse(text)
    except AddressError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
