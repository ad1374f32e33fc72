"""A class with a host that is not a target."""

from __future__ import annotations

from tests.loadtest.locustfiles.two_classes import Plain


class Wrong(Plain):
    host = "localhost"
