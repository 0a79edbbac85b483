"""A site with a strict Content-Security-Policy, whose page has the SDK's own fake server."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, Route

STATIC = Path(__file__).resolve().parent.parent.parent / "session_mgmt/static/session_mgmt"
SITE = "http://panel.shop.test/"
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
PAGE = "<!doctype html><html lang=en><title>Shop</title><h1>Shop</h1><script type=module src=/main.js></script></html>"


def open_site(page: Page, main: str) -> None:
    """Open the page with this script in it."""

    def serve(route: Route) -> None:
        name = route.request.url.removeprefix(SITE)
        if not name:
            route.fulfill(body=PAGE, content_type="text/html", headers={"Content-Security-Policy": POLICY})
        elif name == "main.js":
            route.fulfill(body=main, content_type="text/javascript")
        elif (STATIC / name).is_file():
            route.fulfill(path=STATIC / name, content_type="text/javascript")
        else:
            route.fulfill(status=404)

    page.route(f"{SITE}**", serve)
    page.goto(SITE)
