"""Additions to Locust's web UI: a guard against foreign requests, checks of the form, our tab and the live page."""

from __future__ import annotations

from geventecho.loadtest.web.form import Form
from geventecho.loadtest.web.guard import Guard
from geventecho.loadtest.web.page import add_page
from geventecho.loadtest.web.tab import Tab

__all__ = ["Form", "Guard", "Tab", "add_page"]
