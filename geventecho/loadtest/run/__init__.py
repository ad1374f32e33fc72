"""A run from its start to its exit code: the plugin, the launcher, the final reports."""

from __future__ import annotations

from geventecho.loadtest.run.plugin import install, listen

__all__ = ["install", "listen"]
