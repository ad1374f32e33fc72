"""Twenty users against an echo server; prints Locust's counts, the number of fired events, and the account."""

from __future__ import annotations

import csv
import io
import json
import sys

import locust
from locust import stats

from geventecho.loadtest import account_of, install
from tests.support.harness import BusyUser, Run


class User(BusyUser):
    @locust.task(3)
    def echo(self) -> None:
        self.client.echo(self.next_payload())

    @locust.task
    def again(self) -> None:
        self.client.echo(self.next_payload(), name="again")


class Only(BusyUser):
    @locust.task
    def echo(self) -> None:
        self.client.echo(self.next_payload())


def measure(user_class: type[BusyUser], listen: bool) -> dict[str, object]:
    run = Run(user_class, sys.argv[1], 20, listen=listen)
    install(run.environment)
    run.wait(lambda: account_of(run.environment).ok >= 500)
    total = run.environment.stats.total
    result = run.finish()
    result["timed"] = [sum(total.response_times.values()), total.num_requests - total.num_none_requests]
    result["average"] = total.avg_response_time
    table = io.StringIO()
    stats.StatsCSV(run.environment, stats.PERCENTILES_TO_REPORT).requests_csv(csv.writer(table))
    result["csv"] = next(int(row["Request Count"]) for row in csv.DictReader(io.StringIO(table.getvalue()))
                         if row["Name"] == "Aggregated")  # fmt: skip
    return result


print(json.dumps([measure(User, listen=True), measure(Only, listen=False)]))
