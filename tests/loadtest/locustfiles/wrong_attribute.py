"""A class with a setting that no user can have."""

from __future__ import annotations

from tests.loadtest.locustfiles.two_classes import Plain


class Wrong(Plain):
    think_time = -1
