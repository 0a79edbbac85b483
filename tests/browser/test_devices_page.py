"""The page of devices can be read on a laptop and on a phone, in light and in dark, and works without a script."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth import get_user_model
from django.contrib.staticfiles import finders
from django.test import Client
from playwright.sync_api import Browser, Page, Route

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.sessions.lifecycle import Device
from tests.browser.test_admin_pages import AGENT, READABLE, beside_an_event_loop
from tests.browser.waiting import open_context
from tests.identity.conftest import new_nonce

__all__ = ["beside_an_event_loop"]

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("on_this_thread")]
ADDRESS = "/account/devices/"
# Pictures for people who look at them, only where a folder is named.
PICTURES = os.environ.get("SESSION_MGMT_PICTURES")
LAPTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"


def find_town(session: object) -> str:
    return "Leiden, the Netherlands (home)"


@pytest.fixture
def documents(settings: object) -> dict[str, bytes]:
    """The page as it is, and as it answers somebody whose login is too long ago."""
    settings.SESSION_MGMT = {"place_of": "tests.browser.test_devices_page.find_town"}  # type: ignore[attr-defined]
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # type: ignore[attr-defined]
    user = get_user_model().objects.create_superuser("ada", password="a password")
    http = Client(headers={"User-Agent": LAPTOP})
    http.post("/admin/login/", {"username": "ada", "password": "a password"})
    http.post("/api/sessions/enter/", {"nonce": new_nonce()}, content_type="application/json")
    lifecycle.create_session(user=user, device=Device(user_agent=AGENT))
    lifecycle.create_session(user=user, device=Device(label="Grandmother's-kitchen-tablet-with-a-very-long-name " * 3))
    lifecycle.create_session(user=user)
    shown = http.get(ADDRESS).content
    session = http.session
    session["_session_mgmt"] = {**session["_session_mgmt"], "at": 0}
    session.save()
    return {ADDRESS: shown, ADDRESS + "stale/": http.post(ADDRESS, {"end": "others"}).content}


@pytest.fixture(params=["light", "dark"])
def screen(request: pytest.FixtureRequest, browser: Browser, documents: dict[str, bytes]) -> Iterator[Page]:
    context = open_context(browser, color_scheme=request.param)

    def answer(route: Route) -> None:
        path = route.request.url.removeprefix("http://shop.test")
        found = finders.find(path.removeprefix("/static/")) if path.startswith("/static/") else None
        if found:
            route.fulfill(path=str(found))
        elif path in documents:
            route.fulfill(body=documents[path], content_type="text/html; charset=utf-8")
        else:
            route.abort()

    context.route("**/*", answer)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("width", [1280, 390])
def test_every_word_can_be_read_and_every_button_be_hit(
    screen: Page, documents: dict[str, bytes], width: int, request: pytest.FixtureRequest
) -> None:
    screen.set_viewport_size({"width": width, "height": 900})
    for address in documents:
        screen.goto(f"http://shop.test{address}")
        if PICTURES:
            name = f"{address.strip('/').replace('/', '-')}-{request.node.callspec.id}.png"
            screen.screenshot(path=Path(PICTURES) / name, full_page=True)
        assert screen.evaluate(READABLE) == []
        assert screen.locator("script").count() == 0
        buttons = screen.get_by_role("button")
        assert buttons.count() == 4
        for number in range(buttons.count()):
            box = buttons.nth(number).bounding_box()
            assert box is not None and box["height"] >= 44
        # Each button says by its device's name which one it is about.
        described = screen.locator("button[aria-describedby]").evaluate_all(
            "found => found.map(one => document.getElementById(one.getAttribute('aria-describedby')).innerText.trim())"
        )
        assert len(set(described)) == 3 and all(described)
