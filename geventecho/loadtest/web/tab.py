"""The tab *TCP* on Locust's main page, beside Locust's own tabs. Locust has template arguments for such tabs.

A tab is one table of text, so each line names its subject. The figures are those of the live result.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import gevent
from flask import Flask, Response, request, url_for
from locust.web import WebUI

from geventecho.loadtest.web.page import PAGE
from geventecho.loadtest.web.tab_lines import COLUMNS, LIVE_PAGE, lines
from geventecho.results import DOWNLOADS

__all__ = ["Tab"]

KEY: Final = "tcp"
INDEX: Final = "locust.index"
STATS: Final = "locust.request_stats"
"""The route that the main page polls every two seconds."""
LINK: Final = f"""<style>
/* A peer's text without spaces would push the percentiles out of sight. */
table:has(a.tcp) :is(td, th) {{ padding: 0.4rem 0.6rem; white-space: nowrap; }}
table:has(a.tcp) td:nth-child(-n+3) {{ min-width: 7rem; white-space: normal; overflow-wrap: anywhere; }}
table:has(a.tcp) td:nth-child(3) {{ min-width: 15rem; }}
</style>
<script>
// A tab contains only text. This script adds a link to the live page, and leaves the cell's text unchanged.
new MutationObserver(() => {{
  for (const cell of document.querySelectorAll("td")) {{
    const link = cell.querySelector("a.tcp");
    if (cell.firstChild?.nodeValue !== "{LIVE_PAGE}") link?.remove();
    else if (!link) {{
      const added = Object.assign(document.createElement("a"), {{className: "tcp", href: "tcp", textContent: "open"}});
      added.style = "color: inherit; margin-left: 1em";
      cell.append(added);
    }}
  }}
}}).observe(document.body, {{childList: true, subtree: true, characterData: true}});
</script>
"""


class Tab:
    """The tab of one web UI.

    Args:
        web_ui: Locust's web UI, with the live page.
        live: a function that returns the live result as in the JSON, without its series; None before the first test.
    """

    def __init__(self, web_ui: WebUI, live: Callable[[], Mapping[str, Any] | None]) -> None:
        self._live = live
        ours: dict[str, list[dict[str, Any]]] = {
            "extended_tabs": [{"title": "TCP", "key": KEY}],
            "extended_tables": [
                {"key": KEY, "structure": [{"key": key, "title": title} for key, title in COLUMNS.items()]}
            ],
            "extended_csv_files": [
                {"href": "./tcp", "title": "TCP live page"},
                *({"href": f"./tcp/{name}", "title": f"Download TCP {name}"} for name in DOWNLOADS),
            ],
        }
        for name, added in ours.items():
            web_ui.template_args[name] = [*web_ui.template_args.get(name, ()), *added]
        app = web_ui.app
        assert isinstance(app, Flask)  # noqa: S101
        app.before_request(self.wait)
        app.after_request(self.add)

    def wait(self) -> None:
        """Delay the answer to Locust's page while a test is stopping, so that the page gets the last figures.

        Locust's page polls only as long as a test runs. Programs get their answer at once.
        """
        if request.endpoint == STATS and "Sec-Fetch-Site" in request.headers:
            while (self._live() or {}).get("state") == "stopping":
                gevent.sleep(0.1)

    def add(self, response: Response) -> Response:
        """Add the lines to the figures, and the link to the main page."""
        if response.status_code != 200:
            return response
        if request.endpoint == INDEX:
            before, end, after = response.get_data(as_text=True).rpartition("</body>")
            response.set_data(f"{before}{LINK if end else ''}{end}{after}")
        elif request.endpoint == STATS and response.is_json:
            figures = response.get_json()
            # Locust caches its response for two seconds, so our table may be in it already.
            others = [table for table in figures.get("extended_stats", ()) if table["key"] != KEY]
            address = url_for(PAGE, _external=True)
            figures["extended_stats"] = [*others, {"key": KEY, "data": list(lines(self._live(), address))}]
            response.set_data(json.dumps(figures))
        return response
