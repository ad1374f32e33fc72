"""Refuses requests to the web UI that come from somebody else's page.

Locust's UI has no login, starts load against any target, and answers every `Origin`: any page open in the tester's
browser could start a swarm, loopback or not, and with DNS rebinding also read the answers. A browser says truthfully
which site a request comes from (`Origin`, `Sec-Fetch-Site`) and which name it was sent to (`Host`); programs such as
curl, which no page can steer, send no `Origin`.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from flask import Response, request
from locust.web import WebUI

__all__ = ["Guard"]


class Guard:
    """Knows the names the UI answers to.

    Args:
        host: the address the UI listens on; "" is every one.
        port: its port.
        extra: further hosts, as `name` or `name:port`: those of a proxy or a forwarded port.
    """

    def __init__(self, host: str, port: int, extra: tuple[str, ...] = ()) -> None:
        self._port = port
        self._anywhere = host in ("", "0.0.0.0", "::")  # noqa: S104
        self._extra = {name.lower() for name in extra}
        self._names = {"localhost", host.lower()}
        if self._anywhere:
            self._names |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def protect(self, web_ui: WebUI) -> None:
        """Check every request, whatever its route, before anything else sees it."""
        assert web_ui.app is not None  # noqa: S101
        web_ui.app.before_request_funcs.setdefault(None, []).insert(0, self.check)

    def check(self) -> Response | None:
        """Answer a foreign request; None lets it pass."""
        host = request.headers.get("Host", "")
        if not self.is_ours(host):
            return _refuse(421, "This is not the host you asked for: open the address Locust printed.")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _refuse(403, "Requests from other sites are refused.")
        # An <img>, a frame or a link sends no Origin. To open a page from a link is harmless; to frame it is not.
        site = request.headers.get("Sec-Fetch-Site", "none")
        opens_page = request.method == "GET" and request.headers.get("Sec-Fetch-Dest") == "document"
        if site not in ("none", "same-origin") and not opens_page:
            return _refuse(403, "Requests from other sites are refused.")
        return None

    def is_ours(self, host: str) -> bool:
        """Whether a `Host` header names this UI."""
        host = host.lower()
        try:
            parts = urlsplit(f"//{host}")
            name, port = parts.hostname or "", parts.port
        except ValueError:
            return False
        if parts.netloc != host or "@" in host:
            return False
        if host in self._extra or name in self._extra:
            return True
        # A browser leaves out the port that its scheme implies.
        ours = port == self._port if port is not None else self._port in (80, 443)
        return ours and (name in self._names or self._is_own_address(name))

    def _is_own_address(self, name: str) -> bool:
        # A page cannot make a browser send an IP address it was not given: rebinding needs a name.
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return address.is_loopback or self._anywhere


def _refuse(status: int, text: str) -> Response:
    return Response(text + "\n", status, content_type="text/plain")
