"""What is measured: one record per operation, counted once."""

from __future__ import annotations

from geventecho.loadtest.measure.account import ABORTS, Account, Failed, account_of, leaves_task
from geventecho.loadtest.measure.precision import install as install_precision
from geventecho.loadtest.measure.reporter import TRANSACTION, Reporter
from geventecho.loadtest.measure.tally import install as install_tally

__all__ = [
    "ABORTS",
    "TRANSACTION",
    "Account",
    "Failed",
    "Reporter",
    "account_of",
    "install_precision",
    "install_tally",
    "leaves_task",
]
