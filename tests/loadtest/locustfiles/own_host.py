"""A class with a host of its own, $OWN_HOST."""

from __future__ import annotations

import os

from loadtests.locustfile import EchoUser


class Other(EchoUser):
    host = os.environ["OWN_HOST"]
