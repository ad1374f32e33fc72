"""Web users, alone or beside a `TcpUser`; prints their rows, their errors, and the class of their task loop.

    python mixed.py stock|alone|beside TARGET

"stock" does not import geventecho, "alone" imports it, and "beside" also has a `TcpUser`.
"""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

import gevent
import locust
from gevent.pywsgi import WSGIServer
from locust.env import Environment
from locust.exception import StopUser


def page(request: dict[str, Any], start: Any) -> list[bytes]:
    found = request["PATH_INFO"] != "/missing"
    start("200 OK" if found else "404 Not Found", [("Content-Type", "text/plain")])
    return [b"x" * 100]


class Web(locust.HttpUser):
    wait_time = locust.constant(0)
    done = 0

    @locust.task
    def ask(self) -> None:
        if self.done == 20:
            raise StopUser
        self.done += 1
        self.client.get("/missing" if self.done % 5 == 0 else "/")
        loops.add(type(self._taskset_instance).__name__)


loops: set[str] = set()
stopped: list[str] = []
mode, target = sys.argv[1:]
server = WSGIServer(("127.0.0.1", 0), page, log=None)
server.start()
Web.host = f"http://127.0.0.1:{server.server_port}"
classes: list[type[locust.User]] = [Web]
if mode != "stock":
    import geventecho.loadtest

    class Tcp(geventecho.loadtest.TcpUser):
        host = target

        @locust.task
        def echo(self) -> None:
            self.client.echo(b"hello")

    if mode == "beside":
        classes.append(Tcp)
options = Namespace(headless=True, tcp_think_time="0.01")
environment = Environment(user_classes=classes, parsed_options=options)
runner = environment.create_local_runner()
if mode != "stock":
    geventecho.loadtest.install(environment)
runner.start(2 * len(classes), spawn_rate=10)
with gevent.Timeout(20):
    while (
        environment.stats.get("/missing", "GET").num_requests < 8
        or runner.user_classes_count["Web"]
        or (mode == "beside" and environment.stats.get("echo", "TCP").num_requests == 0)
    ):
        gevent.sleep(0.01)
runner.quit()
rows = {}
for name in ("/", "/missing"):
    row = environment.stats.get(name, "GET")
    rows[name] = [
        row.num_requests, row.num_failures, row.total_content_length, row.num_none_requests,
        sum(row.response_times.values()),
    ]  # fmt: skip
errors = [
    [e.method, e.name, repr(e.error).replace(Web.host, ""), e.occurrences] for e in environment.stats.errors.values()
]
print(json.dumps({"rows": rows, "errors": errors, "loops": sorted(loops)}))
