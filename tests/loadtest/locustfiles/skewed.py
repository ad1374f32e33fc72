"""EchoUser. The clock that counts the seconds of a test is $SKEW seconds ahead."""

from __future__ import annotations

import os

from geventecho.loadtest.measure import SECONDS
from geventecho.loadtest.measure.seconds import NANOSECONDS, Seconds
from loadtests.locustfile import EchoUser

__all__ = ["EchoUser"]

SKEW = int(os.environ.get("SKEW", "0")) * NANOSECONDS
begin = Seconds.begin


def begin_ahead(seconds: Seconds, wall: int) -> int:
    first = begin(seconds, wall)
    seconds.offset += SKEW
    return first


Seconds.begin = begin_ahead  # type: ignore[assignment,method-assign]
SECONDS.offset += SKEW
