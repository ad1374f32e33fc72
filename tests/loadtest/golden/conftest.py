"""Fixtures of the golden tests."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _undisturbed(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run an `alone` or `long` test and its processes before all other processes (sched(7)), if that is allowed.

    So a test can judge tenths of a millisecond on a machine that does other work, too.
    """
    marks = {mark.name for mark in request.node.iter_markers()}
    if marks.isdisjoint({"alone", "long"}):
        yield
        return
    with contextlib.suppress(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
