"""The web UI's form: its values are checked before Locust takes any of them, and it shows those that apply."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Callable, Mapping
from typing import Any, Final

from flask import Response, before_render_template, jsonify, request
from locust.web import WebUI

from geventecho.errors import AddressError, ConfigError
from geventecho.loadtest.settings import CHECKS, FIXED, HELP, PREFIX

__all__ = ["Form"]

logger = logging.getLogger("geventecho.loadtest")

SWARM: Final = "locust.swarm"
"""The route that the form is sent to."""
KEPT: Final = "Users that run keep the value they started with."
"""Said in the label of a field: the dialog *Edit* closes before it could show an answer."""


class Form:
    """The form of one web UI.

    Args:
        web_ui: Locust's.
        check_users: takes the host field; raises AddressError or ConfigError.
        class_values: returns, for each of our settings, what the user classes say where the field is empty.
    """

    def __init__(
        self, web_ui: WebUI, check_users: Callable[[str | None], None], class_values: Callable[[], Mapping[str, str]]
    ) -> None:
        self._environment = web_ui.environment
        self._check_users = check_users
        self._class_values = class_values
        app = web_ui.app
        assert app is not None  # noqa: S101
        if SWARM not in app.view_functions:
            logger.warning("this Locust has no route %s: wrong values in the form are found when users start", SWARM)
        app.before_request(self.check)
        before_render_template.connect(self.show, app, weak=False)

    def check(self) -> Response | None:
        """Return the answer to a form with a wrong value, or None to let the request pass."""
        if request.endpoint != SWARM:
            return None
        now = self._options()
        sent = {
            name: text == "true" if isinstance(now.get(name), bool) else text for name, text in request.form.items()
        }
        try:
            for function in CHECKS:
                function(now | sent)
            self._check_users(request.form.get("host", self._environment.host))
        except (ConfigError, AddressError) as error:
            return jsonify({"success": False, "message": str(error), "host": self._environment.host})
        return None

    def show(self, *_: object, context: dict[str, Any], **__: object) -> None:
        """Fill in the values that apply now. Locust fills in those of the command line, whatever was changed since."""
        fields = context.get("template_args", {}).get("extra_options", {})
        for name, value in self._options().items():
            if name in fields:
                fields[name]["default_value"] = value
        for name, value in self._class_values().items():
            if field := fields.get(PREFIX + name):
                field["help_text"] = f"{HELP[name]}. Empty: {value}."
        for name in FIXED & fields.keys():
            fields[name]["help_text"] = f"{fields[name]['help_text']} {KEPT}"

    def _options(self) -> dict[str, Any]:
        return dict(vars(self._environment.parsed_options or Namespace()))
