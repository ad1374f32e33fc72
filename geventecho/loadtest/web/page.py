"""The live page and its data: routes beside Locust's own, behind the same login and under the same base path."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

from flask import Blueprint, Response, request
from locust.web import WebUI

from geventecho import results

__all__ = ["PAGE", "add_page"]

logger = logging.getLogger("geventecho.loadtest")

BLUEPRINT: Final = "geventecho"
PAGE: Final = f"{BLUEPRINT}.page"
"""The route of the page."""
TYPES: Final = {"csv": "text/csv", "html": "text/html", "json": "application/json"}
"""The content types of the downloads, by the end of the name."""
POLICY: Final = "default-src 'self'; frame-ancestors 'self'"


def add_page(web_ui: WebUI, live_json: Callable[[str | None], bytes], live_file: Callable[[str], bytes | None]) -> None:
    """Add the routes to a web UI.

    Args:
        web_ui: Locust's web UI.
        live_json: a function that takes the name of a row, or None for all rows, and returns the live result with the
            series of this row.
        live_file: a function that takes a name of `DOWNLOADS`, and returns this file of the running or the last test,
            or None if there was no test. It raises TimeoutError or EOFError if a running test has no figures.
    """
    app = web_ui.app
    assert app is not None  # noqa: S101
    blueprint = Blueprint(BLUEPRINT, __name__, url_prefix=app.blueprints["locust"].url_prefix)

    def live() -> Response:
        return Response(live_json(request.args.get("row")), content_type="application/json")

    def download(name: str) -> Response:
        return _download(name, live_file)

    views: dict[str, Callable[..., Response]] = {
        "/tcp": page,
        "/favicon.ico": icon,
        "/tcp/assets/<path:name>": asset,
        "/tcp/live.json": live,
        "/tcp/<name>": download,
    }
    for rule, view in views.items():
        blueprint.add_url_rule(rule, view.__name__, web_ui.auth_required_if_enabled(view))
    blueprint.after_request(_restrict)
    app.register_blueprint(blueprint)
    logger.info("live page: %s", _address(web_ui, blueprint.url_prefix or ""))


def page() -> Response:
    """The live page."""
    return _cached(results.page().encode(), "text/html; charset=utf-8")


def icon() -> Response:
    """The icon of the page, at the address where a browser looks for an icon."""
    return asset("icon.svg")


def asset(name: str) -> Response:
    """A file that the page loads."""
    if name not in results.ASSETS:
        return _text(404, "The page has no such file.")
    return _cached(results.asset(name), results.ASSETS[name])


def _download(name: str, live_file: Callable[[str], bytes | None]) -> Response:
    if name not in results.DOWNLOADS:
        return _text(404, "There is no such file.")
    try:
        content = live_file(name)
    except (TimeoutError, EOFError) as error:
        return _text(503, str(error))
    if content is None:
        return _text(404, "There is no result yet: start a test first.")
    response = Response(content, mimetype=TYPES[name.rpartition(".")[2]])
    response.headers["Content-Disposition"] = f"attachment; filename=tcp-{name}"
    return response


def _address(web_ui: WebUI, base: str) -> str:
    """The address of the page for a browser on this machine."""
    host = "localhost" if web_ui.host in ("", "0.0.0.0", "::") else web_ui.host  # noqa: S104
    scheme = "https" if web_ui.tls_cert and web_ui.tls_key else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{web_ui.port}{base}/tcp"


def _cached(content: bytes, kind: str) -> Response:
    """Make a browser ask each time whether the content has changed. Unchanged content is not sent again."""
    response = Response(content, content_type=kind)
    response.cache_control.private = response.cache_control.no_cache = True
    response.add_etag()
    response.make_conditional(request)
    return response


def _text(status: int, text: str) -> Response:
    return Response(f"{text}\n", status, content_type="text/plain; charset=utf-8")


def _restrict(response: Response) -> Response:
    """Let the page load only files of this web UI, and keep its data out of caches."""
    headers: Any = response.headers
    headers["Content-Security-Policy"] = POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers.setdefault("Cache-Control", "no-store")
    return response
