"""Serve with several processes."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from geventecho.address import Address
from geventecho.errors import ConfigError
from geventecho.server import Counters, Endpoints, ServerConfig, TcpServer
from geventecho.service.service import Service

__all__ = ["Plan", "serve_with_workers"]

READ_BY_GUNICORN: Final = ("PORT", "WEB_CONCURRENCY", "FORWARDED_ALLOW_IPS")
"""Variables of the environment that gunicorn takes for its own settings. It raises for a value that it cannot use."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What workers are to do.

    Attributes:
        workers: how many.
        config: the limits of each.
        make: makes the server, in the worker, for these listeners and counters.
    """

    workers: int
    config: ServerConfig
    make: Callable[[list[Address], Counters], TcpServer]


def serve_with_workers(
    targets: Sequence[Address],
    plan: Plan,
    service: Service,
    *,
    scheme: str,
    read_anew: Callable[[], Plan],
) -> int:
    """Serve with several processes until SIGTERM or SIGINT, then drain; a second one ends all of them at once.

    SIGHUP starts workers with what `read_anew` returns, and drains the old ones once the new ones listen. SIGTTIN and
    SIGTTOU add and take away a worker. SIGUSR1 prints the sums of the counters.

    Args:
        targets: where to listen.
        plan: what the workers do.
        service: its outputs and callbacks.
        scheme: that TCP addresses are shown with, "tcp" or "tls".
        read_anew: reads the configuration again; a GeventechoError that it raises keeps the old workers.

    Returns:
        The exit code: 0, 3 when bytes owed were lost, 1 when the workers could not start or kept ending, 128 + N by a
        second signal.

    Raises:
        ConfigError: gunicorn is not installed.
        ListenError: an address cannot be had.
    """
    for name in READ_BY_GUNICORN:
        os.environ.pop(name, None)
    try:
        from geventecho.service.arbiter import WorkerArbiter  # noqa: PLC0415  # it is an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--workers needs {(error.name or '').partition('.')[0]}: pip install 'geventecho[workers]'"
        ) from None
    endpoints = Endpoints(targets, plan.config, scheme=scheme)
    try:
        service.on_bound(endpoints.addresses)
        WorkerArbiter(endpoints, plan, service, read_anew).run()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        endpoints.shut()
    return 0
