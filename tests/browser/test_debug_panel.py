"""The debug panel in a browser, under a strict Content-Security-Policy."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect

from tests.browser.fake_site import open_site

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


@pytest.mark.parametrize("viewport", [{"width": 390, "height": 844}], ids=["narrow"])
def test_the_panel_fits_a_phone_under_a_strict_policy_and_goes_with_a_key(page: Page) -> None:
    open_site(page, MAIN)
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
