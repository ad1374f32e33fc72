"""A run from its start to its exit code: the plugin, the launcher and the final reports."""

from __future__ import annotations

from geventecho.loadtest.run.live import live_json, live_of
from geventecho.loadtest.run.plugin import install, listen
from geventecho.loadtest.run.results import result_of

__all__ = ["install", "listen", "live_json", "live_of", "result_of"]
