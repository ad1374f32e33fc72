"""A page with nothing but the plots, in a real Chromium."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from geventecho.results import asset, page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["open_plots", "remove", "show"]


def open_plots(browser: Browser, *, width: int = 1400, height: int = 900, theme: str = "light") -> Page:
    """Open a page with the plots' scripts and styles; `show` makes the plots."""
    opened = browser.new_page(viewport={"width": width, "height": height})
    names = re.findall(r'(?:src|href)="tcp/assets/([^"]+\.(?:js|css))"', page())
    texts = {name: asset(name).decode() for name in names if name not in {"tables.js", "page.js"}}
    styles = "".join(f"<style>{text}</style>" for name, text in texts.items() if name.endswith(".css"))
    scripts = "".join(f"<script>{text}</script>" for name, text in texts.items() if name.endswith(".js"))
    opened.set_content(
        f'<!doctype html><html lang="en" data-theme="{theme}"><title>Plots</title>{styles}'
        f'<main><section><div id="plots"></div></section></main>{scripts}</html>'
    )
    return opened


def remove(page: Page) -> None:
    """Remove the plots, if there are any."""
    page.evaluate("window.shown?.destroy(); window.shown = null")


def show(page: Page, value: dict[str, Any], row: str) -> None:
    """Show a Result's JSON, in new plots or in those that are there."""
    page.evaluate(
        """([value, row]) => {
            window.shown ??= TcpPlots.create(document.querySelector("#plots"));
            window.shown.update(value, row);
        }""",
        [value, row],
    )
