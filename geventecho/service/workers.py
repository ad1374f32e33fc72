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
"""Environment variables that gunicorn takes as settings. It raises if it cannot use a value."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The configuration of the workers.

    Attributes:
        workers: their number.
        config: the limits of each worker.
        make: makes a worker's server, in the worker, from the listeners and the counters.
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
    reload: Callable[[], Plan],
) -> int:
    """Serve with several processes until SIGTERM or SIGINT, then drain; a second one ends all of them at once.

    SIGHUP starts workers with the plan that `reload` returns, and drains the old ones once the new ones listen. SIGTTIN
    adds a worker, SIGTTOU removes one. SIGUSR1 prints the sums of the counters.

    Args:
        targets: where to listen.
        plan: the first configuration of the workers.
        service: its outputs and callbacks.
        scheme: "tcp" or "tls", for the TCP addresses in the output.
        reload: reads the configuration again; after a GeventechoError the old workers stay.

    Returns:
        The exit code: 0, 3 if bytes owed to clients were lost, 1 if the workers could not start or kept ending, 128 + N
        after a second signal N.

    Raises:
        ConfigError: gunicorn is not installed.
        ListenError: an address cannot be listened on.
    """
    for name in READ_BY_GUNICORN:
        os.environ.pop(name, None)
    try:
        from geventecho.service.arbiter import WorkerArbiter  # noqa: PLC0415  # gunicorn is an extra
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--workers needs {(error.name or '').partition('.')[0]}: pip install 'geventecho[workers]'"
        ) from None
    endpoints = Endpoints(targets, plan.config, scheme=scheme)
    try:
        service.on_bound(endpoints.addresses)
        WorkerArbiter(endpoints, plan, service, reload).run()
    except SystemExit as end:
        return int(end.code or 0)
    finally:
        endpoints.shut()
    return 0
