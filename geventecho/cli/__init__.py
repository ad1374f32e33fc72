"""The command line."""

from __future__ import annotations

from geventecho.cli.main import main

__all__ = ["main"]
