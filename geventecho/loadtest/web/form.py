"""The web UI's form: its fields are checked before Locust sets any of them, and it shows the values that apply.

Locust's form sets every option whose name is posted: with `html_file` a stranger could make the process write any file.
Here a form can set only the fields that it shows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from flask import Response, before_render_template, jsonify, request
from locust.web import WebUI

from geventecho.errors import AddressError, ConfigError
from geventecho.loadtest.arguments import HELP
from geventecho.loadtest.settings import CHECKS, FIXED, PREFIX, options_of

__all__ = ["Form"]

logger = logging.getLogger("geventecho.loadtest")

SWARM: Final = "locust.swarm"
"""The route of the form."""
USER: Final = "locust.update_user"
"""The route of the dialog that edits a user class, as JSON."""
FIELDS: Final = frozenset({"user_count", "spawn_rate", "host", "run_time", "profile", "user_classes", "shape_class"})
"""The fields of every form besides the custom parameters."""
UNCHANGED: Final = "Running users keep the value that they started with."
"""A note in the label of a field: the dialog *Edit* closes before it can show an answer."""


class Form:
    """The form of one web UI.

    Args:
        web_ui: Locust's web UI.
        check_users: a function that takes the host field, and raises AddressError or ConfigError.
        class_values: a function that returns the values of our settings in the user classes. The value of a setting
            applies if its field is empty.
        check_plan: a function that takes the options, and raises ConfigError if a running test cannot take them.
        changed: called after Locust has taken a form.
    """

    def __init__(
        self,
        web_ui: WebUI,
        check_users: Callable[[str | None], None],
        class_values: Callable[[], Mapping[str, str]],
        check_plan: Callable[[Mapping[str, Any]], None],
        changed: Callable[[], None],
    ) -> None:
        self._web_ui = web_ui
        self._environment = web_ui.environment
        self._check_users = check_users
        self._class_values = class_values
        self._check_plan = check_plan
        self._changed = changed
        app = web_ui.app
        assert app is not None  # noqa: S101
        if SWARM not in app.view_functions:
            logger.warning("this Locust has no route %s: wrong values in the form show only when users start", SWARM)
        app.before_request(self.check)
        app.after_request(self.take)
        before_render_template.connect(self.show, app, weak=False)

    def check(self) -> Response | None:
        """Return the answer to a form with an unknown field or a wrong value; None lets the request pass."""
        if request.endpoint == USER:
            return self._check_user_class(request.get_json(force=True, silent=True))
        if request.endpoint != SWARM:
            return None
        now = options_of(self._environment)
        custom = self._web_ui.template_args.get("extra_options", {})
        if unknown := (request.form.keys() & now.keys()) - FIELDS - custom.keys():
            return self._refuse(_no_field(unknown), 400)
        sent = {
            name: text == "true" if isinstance(now.get(name), bool) else text for name, text in request.form.items()
        }
        try:
            for function in CHECKS:
                function(now | sent)
            self._check_plan(now | sent)
            self._check_users(request.form.get("host", self._environment.host))
        except (ConfigError, AddressError) as error:
            return self._refuse(str(error), 200)  # with another status the page does not show the message
        return None

    def _check_user_class(self, sent: Any) -> Response | None:
        """Refuse attributes that the dialog does not show. Locust would set every attribute, on the workers too."""
        name = sent.get("user_class_name") if isinstance(sent, dict) else None
        user_class: Any = (self._environment.available_user_classes or {}).get(str(name))
        if user_class is None:
            return self._refuse(f"user_class_name: there is no user class {name!r}", 400)
        unknown = sent.keys() - user_class.json().keys() - {"user_class_name"}
        return self._refuse(_no_field(unknown), 400) if unknown else None

    def _refuse(self, message: str, status: int) -> Response:
        answer = jsonify({"success": False, "message": message, "host": self._environment.host})
        answer.status_code = status
        return answer

    def take(self, response: Response) -> Response:
        """Call `changed` after Locust has taken the form or refused it."""
        if request.endpoint == SWARM:
            self._changed()
        return response

    def show(self, *_: object, context: dict[str, Any], **__: object) -> None:
        """Fill in the current values. Locust fills in the values of the command line, even after a change."""
        fields = context.get("template_args", {}).get("extra_options", {})
        for name, value in options_of(self._environment).items():
            if name in fields:
                fields[name]["default_value"] = value
        for name, value in self._class_values().items():
            if field := fields.get(PREFIX + name):
                field["help_text"] = f"{HELP[name]}. If empty: {value}."
        for name in FIXED & fields.keys():
            fields[name]["help_text"] = f"{fields[name]['help_text']} {UNCHANGED}"


def _no_field(names: Collection[str]) -> str:
    return f"the form has no such field: {', '.join(sorted(names))}"
