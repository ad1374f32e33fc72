"""Locust's web UI: a guard against foreign requests, and the checks of its form."""

from __future__ import annotations

from geventecho.loadtest.web.form import Form
from geventecho.loadtest.web.guard import Guard

__all__ = ["Form", "Guard"]
