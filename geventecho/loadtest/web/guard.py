"""Refuses requests to the web UI that come from a page of another site.

Locust's UI has no login, starts load against any target and answers requests of every `Origin`. Any page in the
tester's browser could start a test, and with DNS rebinding it could also read the answers, even of a UI on loopback. A
browser sends the true origin of a request (`Origin`, `Sec-Fetch-Site`) and the name of the host that it contacts
(`Host`). A page cannot control programs such as curl, and these send no `Origin`. No other site may show the UI in a
frame: it could trick the user into a click.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final
from urllib.parse import urlsplit

from flask import Response, request
from locust.web import WebUI

from geventecho.loadtest.web.page import PAGE

__all__ = ["Guard"]

PAGES: Final = frozenset({"locust.index", PAGE})
"""The pages that a link on another site may open."""
CHANGING: Final = frozenset({"locust.stop", "locust.reset_stats"})
"""Routes that change something. Locust up to 2.46 answers a GET of them."""


class Guard:
    """Refuses requests by their `Host` and their origin. A name is allowed with any port: a forwarded port differs.

    Args:
        host: the address on which the UI listens; "" is every address.
        allowed: further hosts as `name` or `name:port`, such as the name of a proxy.
    """

    def __init__(self, host: str, allowed: tuple[str, ...] = ()) -> None:
        self._anywhere = host in ("", "0.0.0.0", "::")  # noqa: S104
        self._allowed = {name.lower() for name in allowed}
        self._names = {"localhost", host.lower()}
        if self._anywhere:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def protect(self, web_ui: WebUI) -> None:
        """Check the requests of all routes, and forbid frames in all answers."""
        assert web_ui.app is not None  # noqa: S101
        web_ui.app.before_request(self.check)
        web_ui.app.after_request(_forbid_frames)

    def check(self) -> Response | None:
        """Return the answer to a foreign request; None lets the request pass."""
        host = request.headers.get("Host", "").lower()
        if not self.is_ours(host):
            return _refuse(
                421,
                f"The web UI does not answer to the host {host!r}. Open the address that Locust printed, or start the "
                f"load test with this option: --tcp-web-allowed-host {_name_of(host) or 'NAME'}",
            )
        origin = request.headers.get("Origin", "").lower()
        if ("Origin" in request.headers and origin not in _origins(host)) or self._is_cross_site(host):
            return _refuse(403, "Requests from other sites are refused.")
        return None

    @staticmethod
    def _is_cross_site(host: str) -> bool:
        """Whether a page of another site made the request. An <img>, a frame or a link sends no Origin."""
        site = request.headers.get("Sec-Fetch-Site")
        if site is None:
            # A browser sends no Sec-Fetch-Site to a UI that is neither https nor on loopback.
            is_browser = request.headers.get("User-Agent", "").startswith("Mozilla/")
            is_ours = request.headers.get("Referer", "").lower().startswith(tuple(f"{url}/" for url in _origins(host)))
            return request.method == "GET" and request.endpoint in CHANGING and is_browser and not is_ours
        opens_page = request.endpoint in PAGES and request.headers.get("Sec-Fetch-Dest") == "document"
        return site not in ("none", "same-origin") and not opens_page

    def is_ours(self, host: str) -> bool:
        """Whether a `Host` header names this UI."""
        host = host.lower()
        name = _name_of(host)
        return bool({host, name} & self._allowed) or name in self._names or self._is_own_address(name)

    def _is_own_address(self, name: str) -> bool:
        # DNS rebinding needs a name: a page cannot make a browser send an IP address that is not in the URL.
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self._anywhere


def _name_of(host: str) -> str:
    """Return the name in a `Host` header, in lower case; "" if the header is not a host."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises for a port that is not a number
    except ValueError:
        return ""
    return (parts.hostname or "") if parts.netloc == host and "@" not in host else ""


def _origins(host: str) -> tuple[str, str]:
    """The UI's own origins as a browser writes them: in `Origin`, and at the beginning of `Referer`."""
    return f"http://{host}", f"https://{host}"


def _refuse(status: int, text: str) -> Response:
    # Locust's CORS extension copies the origin into the answer, and fails if the origin contains a line break.
    request.environ.pop("HTTP_ORIGIN", None)
    return Response(text + "\n", status, content_type="text/plain")


def _forbid_frames(response: Response) -> Response:
    response.headers.setdefault("X-Frame-Options", "SAMEORIGIN")
    response.headers.setdefault("Content-Security-Policy", "frame-ancestors 'self'")
    return response
