"""Scripts of test_page_routes.py."""

from __future__ import annotations

from typing import Any

import locust
from locust.env import Environment

from geventecho.loadtest.web import add_page
from tests.support.harness import EchoUser


def refused() -> list[Any]:
    """The answer to a download where the live figures' process does not answer."""

    def file(_: str) -> bytes:
        raise TimeoutError("why")

    environment = Environment(user_classes=[EchoUser])
    environment.create_local_runner()
    ui = environment.create_web_ui("127.0.0.1", 0, delayed_start=True)
    assert ui.app is not None
    add_page(ui, lambda _: b"", file)
    answer = ui.app.test_client().get("/tcp/rows.csv")
    return [answer.status_code, answer.text]


def statuses() -> dict[str, int]:
    """The status of each of our routes, in a web UI without login, base path or test."""
    environment = Environment(user_classes=[EchoUser])
    runner = environment.create_local_runner()
    ui = environment.create_web_ui("127.0.0.1", 0, delayed_start=True)
    assert ui.app is not None
    locust.events.init.fire(environment=environment, runner=runner, web_ui=ui)
    client = ui.app.test_client()
    paths = ("/tcp", "/tcp/live.json", "/tcp/assets/page.js", "/favicon.ico", "/tcp/result.json")
    return {path: client.get(path, headers={"Host": "127.0.0.1"}).status_code for path in paths}
