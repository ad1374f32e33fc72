"""The web UI's form: its values are checked before Locust takes any of them."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from flask import Response, jsonify, request
from locust.web import WebUI

from geventecho.errors import AddressError, ConfigError
from geventecho.loadtest.settings import CHECKS

__all__ = ["check_form"]


def check_form(web_ui: WebUI, check_users: Callable[[str | None], None]) -> None:
    """Have the form's values checked before Locust takes any of them; Locust itself checks none.

    Args:
        web_ui: Locust's.
        check_users: takes the host field; raises AddressError or ConfigError.
    """
    assert web_ui.app is not None  # noqa: S101

    def check() -> Response | None:
        if request.endpoint != "locust.swarm":
            return None
        options = vars(web_ui.environment.parsed_options or argparse.Namespace()).copy()
        for name, text in request.form.items():
            options[name] = text == "true" if isinstance(options.get(name), bool) else text
        try:
            for function in CHECKS:
                function(options)
            check_users(request.form.get("host", web_ui.environment.host))
        except (ConfigError, AddressError) as error:
            return jsonify({"success": False, "message": str(error), "host": web_ui.environment.host})
        return None

    web_ui.app.before_request(check)
