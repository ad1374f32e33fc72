"""Names and replies with markup. If Locust is started with --web-login, the web UI has a login."""

from __future__ import annotations

from typing import Any

import locust
from flask import redirect, url_for
from flask_login import login_user
from locust.env import Environment

from geventecho.framing import Exactly
from geventecho.loadtest import TcpUser


class MarkedUp(TcpUser):
    think_time = 0.02

    @locust.task(9)
    def good(self) -> None:
        self.client.echo(self.next_payload(), name="<b>good</b>")

    @locust.task
    def bad(self) -> None:
        self.client.request(b"<i>bad</i>", Exactly(10), name="<b>bad</b>", expect=b"another")


class Tester:
    is_active = is_authenticated = True

    def get_id(self) -> str:
        return "tester"


@locust.events.init.add_listener
def on_init(environment: Environment, **_: Any) -> None:
    web_ui = environment.web_ui
    if web_ui is None or not web_ui.web_login or web_ui.app is None:
        return
    web_ui.app.secret_key = "of a test"
    web_ui.auth_args = {"username_password_callback": "enter"}
    web_ui.login_manager.user_loader(lambda _: Tester())

    @web_ui.app.route("/enter")
    def enter() -> Any:
        login_user(Tester())
        return redirect(url_for("locust.index"))
