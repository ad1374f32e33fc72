"""Scripts of test_tab.py."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import gevent
from flask import Response
from locust.env import Environment

from geventecho.loadtest.web import Tab, add_page
from geventecho.loadtest.web.tab_lines import lines
from geventecho.results import GateOutcome, as_json
from tests.results import samples

STATS = "/stats/requests"


def answers_while_stopping() -> dict[str, str]:
    """The states in the answers to a program and to a page that ask while a test stops."""
    environment = Environment()
    environment.create_local_runner()
    ui = environment.create_web_ui("127.0.0.1", 0, delayed_start=True)
    assert ui.app is not None
    live: dict[str, Any] = {"state": "stopping"}
    add_page(ui, lambda row: b"{}", lambda name: None)
    Tab(ui, lambda: live)

    def state(**headers: str) -> str:
        assert ui.app is not None
        answer = ui.app.test_client().get(STATS, headers=headers)
        item: str = json.loads(answer.data)["extended_stats"][0]["data"][0]["item"]
        return item

    page = gevent.spawn(state, **{"Sec-Fetch-Site": "same-origin"})
    gevent.sleep(0)  # the page asks
    program = state()
    live["state"] = "stopped"
    return {"program": program, "page": page.get(timeout=10)}


def tables_beside_others() -> dict[str, list[str]]:
    """The keys of tabs and tables where a locustfile has added its own."""
    environment = Environment()
    environment.create_local_runner()
    ui = environment.create_web_ui("127.0.0.1", 0, delayed_start=True)
    assert ui.app is not None
    for name in ("extended_tabs", "extended_tables"):
        ui.template_args[name] = [{"key": "theirs"}]

    def add(response: Response) -> Response:
        figures = response.get_json()
        figures.setdefault("extended_stats", []).append({"key": "theirs", "data": []})
        response.set_data(json.dumps(figures))
        return response

    add_page(ui, lambda row: b"{}", lambda name: None)
    Tab(ui, lambda: None)
    ui.app.after_request(add)
    found = json.loads(ui.app.test_client().get(STATS).data)["extended_stats"]
    keys = {name: [entry["key"] for entry in ui.template_args[name]] for name in ("extended_tabs", "extended_tables")}
    return keys | {"extended_stats": [table["key"] for table in found]}


def figures(state: str, planned: int) -> dict[str, str]:
    """The figures of a result with two gates and one worker, by their lines."""
    gates = (GateOutcome("p99 < 1s", True, "p99 5 ms", ""), GateOutcome("rate > 9/s", False, "3/s", "too\nslow"))
    account = {"planned": planned, "sent": planned, "late": 2, "dropped": 0}
    verdict = {"status": "trusted", "reasons": ["its own"]}
    live = json.loads(json.dumps(as_json(replace(samples.result(), gates=gates)))) | {
        "state": state, "now": {"connects": 7.0}, "workers": [{"id": "local", "rate": 3.0, "verdict": verdict}],
    }  # fmt: skip
    live["account"] |= account
    found = lines(live, "http://localhost/tcp")
    return {f"{line['about']} {line['item']}".rstrip(): line["figure"] for line in found}
