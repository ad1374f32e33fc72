"""The page that shows a `Result`: live for a running test, or as a report in one file.

Live page and report are page.html with the same scripts. The scripts read the JSON of docs/reference/result-schema.md.
They compute no figure.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from functools import cache
from importlib import resources
from pathlib import PurePath
from typing import Final

from geventecho.results.json_file import as_json
from geventecho.results.result import Result
from geventecho.results.summary import table

__all__ = ["ASSETS", "asset", "page", "report"]

STYLE: Final = re.compile(r'<link rel="stylesheet" href="tcp/assets/([^"]+)">')
SCRIPT: Final = re.compile(r'<script src="tcp/assets/([^"]+)"></script>')
TYPES: Final = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@cache
def _text(name: str) -> str:
    return resources.files(__name__).joinpath(name).read_text("utf-8")


ASSETS: Final = {
    name: f"{TYPES[PurePath(name).suffix]}; charset=utf-8"
    for name in re.findall(r'(?:src|href)="tcp/assets/([^"]+)"', _text("page.html"))
}
"""The content type of each file that the page loads, by its path below `tcp/assets/`."""


def page() -> str:
    """Return the live page. Its links are relative to an address that ends in `tcp`."""
    return _text("page.html")


def asset(name: str) -> bytes:
    """Return the content of a file of `ASSETS`.

    Raises:
        KeyError: there is no such file.
    """
    if name not in ASSETS:
        raise KeyError(name)
    return _text(name).encode()


def report(result: Result) -> str:
    """Return a `Result` as one HTML file that needs no other file and no network."""
    policy: list[str] = []
    text = _inlined(STYLE, "style", _text("page.html"), policy)
    text = _inlined(SCRIPT, "script", text, policy)
    icon = base64.b64encode(asset("icon.svg")).decode()
    text = text.replace('href="tcp/assets/icon.svg"', f'href="data:image/svg+xml;base64,{icon}"')
    title = html.escape(f"TCP load test of {result.target}, {result.started_at[:19].replace('T', ' ')} UTC")
    content = "; ".join(["default-src 'none'", "img-src data:", "base-uri 'none'", "form-action 'none'", *policy])
    meta = f'<meta http-equiv="Content-Security-Policy" content="{content}">'
    text = text.replace("<title>TCP load test</title>", f"{meta}\n<title>{title}</title>")
    plain = html.escape(table(result))
    text = text.replace("<p>This page needs JavaScript.</p>", f"<pre>{plain}</pre>")
    return text.replace("</main>", f'</main>\n<script type="application/json" id="result">{_embedded(result)}</script>')


def _embedded(result: Result) -> str:
    """JSON for a script element. It contains no `<`, so no text can end the element."""
    return json.dumps(as_json(result), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _inlined(reference: re.Pattern[str], tag: str, text: str, policy: list[str]) -> str:
    """Replace references by the content of their files, and add a rule to a policy that allows only these contents."""
    hashes: list[str] = []

    def element(match: re.Match[str]) -> str:
        content = _text(match[1])
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        hashes.append(f"'sha256-{digest}'")
        return f"<{tag}>{content}</{tag}>"

    made = reference.sub(element, text)
    policy.append(f"{tag}-src {' '.join(hashes)}")
    return made
