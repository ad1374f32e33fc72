"""Scripts of test_web.py."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re
from typing import Any

import locust
from flask.testing import FlaskClient
from locust.argument_parser import get_parser
from locust.env import Environment

from geventecho.loadtest.web import Guard, form
from tests.support.harness import EchoUser


def fields_that_are_read() -> dict[str, list[str]]:
    """The form fields that only Locust's function for the route has, and the fields that only we have."""
    ui = Environment(user_classes=[EchoUser]).create_web_ui("127.0.0.1", 0, delayed_start=True)
    assert ui.app is not None
    read = set(re.findall(r'case "(\w+)"|key == "(\w+)"', inspect.getsource(ui.app.view_functions[form.SWARM])))
    named = {first or second for first, second in read}
    return {"locust": sorted(named - form.FIELDS), "ours": sorted(form.FIELDS - named)}


def warnings_without_the_route_of_the_form() -> list[str]:
    records = []

    class Records(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            records.append(record.getMessage())

    logging.getLogger("geventecho.loadtest").addHandler(Records())
    environment = Environment(user_classes=[EchoUser])
    runner = environment.create_local_runner()
    ui = environment.create_web_ui("127.0.0.1", 0, delayed_start=True)
    assert ui.app is not None
    del ui.app.view_functions["locust.swarm"]
    locust.events.init.fire(environment=environment, runner=runner, web_ui=ui)
    return records


def client_with_old_routes() -> FlaskClient:
    """A client of a web UI whose /stop and /stats/reset answer to GET, as in Locust up to 2.46."""
    environment = Environment(user_classes=[EchoUser])
    runner = environment.create_local_runner()
    ui = environment.create_web_ui("127.0.0.1", 0, delayed_start=True)
    assert ui.app is not None
    for path, name in (("/stop", "locust.stop"), ("/stats/reset", "locust.reset_stats")):
        rules = ui.app.url_map._rules_by_endpoint[name]
        if not any("GET" in (rule.methods or ()) for rule in rules):
            ui.app.add_url_rule(path, name, ui.app.view_functions[name], methods=["GET"])
    locust.events.init.fire(environment=environment, runner=runner, web_ui=ui)
    return ui.app.test_client()


def guarded_gets() -> list[list[int]]:
    """The statuses of the answers to seven senders, for each of the two routes."""
    client = client_with_old_routes()
    senders = (
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "image"},
        {"User-Agent": "Mozilla/5.0"},
        {"User-Agent": "Mozilla/5.0", "Referer": "http://evil.example/"},
        {"User-Agent": "Mozilla/5.0", "Referer": "http://127.0.0.1:8089/"},
        {"Sec-Fetch-Site": "same-origin"},
        {"User-Agent": "curl/8"},
    )
    return [
        [client.get(path, headers={"Host": "127.0.0.1:8089", **sender}).status_code for sender in senders]
        for path in ("/stop", "/stats/reset")
    ]


def exit_of(argument: str) -> list[Any]:
    """Exit code and message for a wrong argument."""
    error = io.StringIO()
    try:
        with contextlib.redirect_stderr(error):
            get_parser().parse_args([argument])
    except SystemExit as ended:
        return [ended.code, error.getvalue()]
    return [None, ""]


def values_of(*arguments: str) -> list[str]:
    options = get_parser().parse_args(list(arguments))
    return [options.tcp_think_time, options.tcp_payload_size, options.tcp_request_timeout]


def hosts_that_are_ours(listening: str, allowed: list[str], hosts: list[str]) -> list[bool]:
    guard = Guard(listening, tuple(allowed))
    return [guard.is_ours(host) for host in hosts]
