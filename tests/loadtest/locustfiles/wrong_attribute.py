"""A class with an invalid setting."""

from __future__ import annotations

from tests.loadtest.locustfiles.two_classes import Plain


class Wrong(Plain):
    think_time = -1
