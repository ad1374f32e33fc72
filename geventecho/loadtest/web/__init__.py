"""Locust's web UI: who may call it, and what its form may hold."""

from __future__ import annotations

from geventecho.loadtest.web.form import Form
from geventecho.loadtest.web.guard import Guard

__all__ = ["Form", "Guard"]
