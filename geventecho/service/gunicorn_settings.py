"""gunicorn's configuration, and a log that drops its lines about HTTP."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.app.base import BaseApplication

from geventecho.service.prefork_worker import PreforkWorker

__all__ = ["Settings"]

logger = logging.getLogger("geventecho.workers")


class ErrorLog:
    """Drops gunicorn's log lines, which are about HTTP. Only failures of gunicorn itself pass."""

    def __init__(self, cfg: object) -> None:
        self.cfg = cfg

    def _ignore(self, *_: object, **__: object) -> None:
        pass

    debug = info = warning = setup = reopen_files = close_on_exec = _ignore

    def error(self, message: str, *arguments: object, **options: Any) -> None:
        """Log the line."""
        logger.error(message, *arguments, **options)

    critical = exception = error


class Settings(BaseApplication):  # type: ignore[misc]
    """gunicorn's configuration."""

    def load_config(self) -> None:
        for name, value in {
            "worker_class": PreforkWorker,
            "logger_class": ErrorLog,
            "control_socket_disable": True,
            "timeout": 0,
        }.items():
            self.cfg.set(name, value)
