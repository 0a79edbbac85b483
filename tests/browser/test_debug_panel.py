"""The debug panel in a browser, under a strict Content-Security-Policy."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

STATIC = Path(__file__).resolve().parent.parent.parent / "session_mgmt/static/session_mgmt"
SITE = "http://panel.shop.test/"
POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; require-trusted-types-for 'script'"
)
PAGE = "<!doctype html><html lang=en><title>Shop</title><h1>Shop</h1><script type=module src=/main.js></script></html>"
MAIN = """
import { SessionClient } from "/session-client.js";
import { FakeServer } from "/session-client.testing.js";
const server = new FakeServer();
const session = await SessionClient.start({ url: "/api/", fetch: server.fetch, WebSocket: server.WebSocket });
await session.connection.connect();
await session.debug();
await session.topics.subscribe("orders:42", () => undefined).subscribed;
await session.state.set("/cart/items", [{ sku: "tea", n: 1 }]);
server.publish("orders:42", { status: "paid" });
"""


def serve(route: Route) -> None:
    """Answer as a site with this page and the static files."""
    name = route.request.url.removeprefix(SITE)
    if not name:
        route.fulfill(body=PAGE, content_type="text/html", headers={"Content-Security-Policy": POLICY})
    elif name == "main.js":
        route.fulfill(body=MAIN, content_type="text/javascript")
    elif (STATIC / name).is_file():
        route.fulfill(path=STATIC / name, content_type="text/javascript")
    else:
        route.fulfill(status=404)


@pytest.mark.parametrize("viewport", [{"width": 390, "height": 844}], ids=["narrow"])
def test_the_panel_fits_a_phone_under_a_strict_policy_and_goes_with_a_key(page: Page) -> None:
    page.route(f"{SITE}**", serve)
    page.goto(SITE)
    panel = page.get_by_role("region", name="session_mgmt")
    expect(panel.get_by_role("status")).to_contain_text("connected, 0 waiting")
    expect(panel.get_by_role("table", name="Frames")).to_contain_text('"status":"paid"')
    expect(panel.get_by_role("table", name="Positions")).to_contain_text("topic:orders:42")
    # Its style sheet holds, and nothing sticks out of the page.
    assert panel.evaluate("panel => getComputedStyle(panel).position") == "fixed"
    box = panel.bounding_box()
    assert box is not None
    assert box["x"] >= 0 and box["x"] + box["width"] <= 390 and box["height"] <= 844 * 0.7 + 1
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    panel.get_by_role("button", name="Close").focus()
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
