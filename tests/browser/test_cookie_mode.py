"""Pages that hold no secret, in Chromium, with https, Django's login and a real server."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import sqlite3
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, Page

from tests.browser.people import KEPT, START, log_in, log_out, register_people
from tests.browser.plain import DOCUMENT
from tests.browser.serving import serve
from tests.browser.waiting import PATIENCE, open_context
from tests.browser.watching import Demo
from tests.ports import take_port

pytestmark = pytest.mark.browser

SECRET = re.compile("sm[acr]_")
COOKIE = "__Host-session-mgmt"
# By this a tab sees that another one has entered.
TURN = "JSON.parse(Object.entries(localStorage).find(([key]) => key.endsWith(':session'))[1]).turn"
# Another origin that is the same site to a browser, so that Lax lets the cookie go along.
KNOCK = """async ([ours, session]) => {
  const socket = new WebSocket(ours.replace("https", "wss") + "ws/session/", ["session-mgmt.v1"]);
  const frames = [];
  const code = await new Promise((resolve) => {
    socket.onopen = () => socket.send(JSON.stringify({
      type: "connect", auth: "cookie", client_id: null, acked: 0, logs: { "state:main": null }, capabilities: [],
    }));
    socket.onmessage = ({ data }) => frames.push(JSON.parse(data));
    socket.onclose = ({ code }) => resolve(code);
  });
  const send = (path, init) =>
    fetch(ours + path, { credentials: "include", ...init }).then(() => "sent", () => "blocked");
  const text = { method: "POST", mode: "no-cors", headers: { "Content-Type": "text/plain" }, body: "{}" };
  return [code, frames.map(({ type }) => type), await send(`api/sessions/${session}/messages/`, text),
    await send("api/sessions/enter/", text), await send(`api/sessions/${session}/`, { method: "DELETE" })];
}"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A server with a certificate of its own, for every host below shop.test."""
    folder = tmp_path_factory.mktemp("shop")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=shop.test"]
    subprocess.run([*make, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    port = take_port()
    tls = ["--ssl-keyfile", str(key), "--ssl-certfile", str(certificate)]
    protocol = ["--ws", "session_mgmt.uvicorn:WebSocketProtocol"]
    with serve(folder, port, "tests.browser.cookie_settings", *protocol, *tls) as database:
        register_people(database)
        yield Demo(f"https://www.shop.test:{port}/", database)


@pytest.fixture
def context(chromium: object, browser: Browser, shop: Demo) -> Iterator[BrowserContext]:
    context = open_context(browser, ignore_https_errors=True)
    yield context
    context.close()


def open_page(page: Page, shop: Demo, **options: str | None) -> object:
    page.goto(shop.url + DOCUMENT)
    return page.evaluate(START, {"tokenMode": "cookie", **options})


def enter_as_program(shop: Demo) -> dict[str, object]:
    """Return what a page kept before there were cookies."""
    trusting = ssl._create_unverified_context()
    nonce = base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()
    headers = {"Content-Type": "application/json"}
    address = shop.url.replace("www.shop.test", "127.0.0.1") + "api/sessions/enter/"
    call = urllib.request.Request(address, json.dumps({"nonce": nonce}).encode(), headers)
    with urllib.request.urlopen(call, context=trusting) as answer:
        found: dict[str, object] = json.load(answer)
    return {**{name: found[name] for name in ("session", "endpoints", "refresh")}, "token": found["access"]}


def let_tokens_age(shop: Demo) -> None:
    """Make the tokens old enough for others to take their place when somebody enters."""
    with contextlib.closing(sqlite3.connect(shop.database, timeout=PATIENCE)) as connection, connection:
        connection.execute("UPDATE session_mgmt_token SET created_at = datetime(created_at, '-1 day')")


def read_cookie(context: BrowserContext) -> str:
    (found,) = [cookie for cookie in context.cookies() if cookie.get("name") == COOKIE]
    assert found.get("httpOnly") and found.get("secure") and found.get("sameSite") == "Lax"
    value = found.get("value")
    assert value and value.startswith("smc_")
    return value


def test_s41_a_page_writes_reloads_renews_and_logs_out_and_never_holds_a_token(
    context: BrowserContext, shop: Demo
) -> None:
    page, other = context.new_page(), context.new_page()
    said: list[str] = []
    page.on("websocket", lambda socket: socket.on("framesent", lambda frame: said.append(str(frame))))
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: said.append(str(frame))))
    ann = log_in(page, shop, "ann")
    for tab in (page, other):
        assert open_page(tab, shop) == [ann, {}]
        tab.wait_for_function("session.status === 'connected'")
    first = read_cookie(context)
    page.evaluate("session.state.set('/note', 'a pot')")
    other.wait_for_function("session.state.get('/note') === 'a pot'")
    page.evaluate("session.sessions.updateSession({ label: 'kitchen' })")
    open_page(page, shop, user=ann)
    page.wait_for_function("session.state.get('/note') === 'a pot'")
    let_tokens_age(shop)
    # The login is due within seconds: one of the tabs enters, whichever, and both go on.
    page.wait_for_function(f"(before) => {TURN} !== before", arg=page.evaluate(TURN))
    page.evaluate("session.state.set('/note', 'a pan')")
    other.wait_for_function("session.state.get('/note') === 'a pan'")
    second = read_cookie(context)
    assert second != first
    shown = "[document.cookie, JSON.stringify([session, session.auth.headers(), session.info, events])]"
    for tab in (page, other):
        assert not SECRET.search(str(tab.evaluate(KEPT)) + str(tab.evaluate(shown)))
    assert said and not [text for text in said if SECRET.search(text)]
    id_ = page.evaluate("session.id")
    page.evaluate("session.logout()")
    other.wait_for_function("events.some(([name]) => name === 'ended')")
    assert "a pan" not in str(other.evaluate(KEPT)) + str(other.evaluate("session.state.get()"))
    assert page.evaluate("(id) => fetch(`/api/sessions/${id}/`).then(({ status }) => status)", id_) != 200


@pytest.mark.parametrize("user", [{}, {"user": None}])
def test_s41_a_page_that_names_no_mode_has_a_cookie_in_the_place_of_its_pair(
    context: BrowserContext, shop: Demo, user: dict[str, None]
) -> None:
    page = context.new_page()
    sockets: list[object] = []
    page.on("websocket", lambda socket: sockets.append(socket))
    kept = {**enter_as_program(shop), "since": int(time.time() * 1000), "life": 900_000}
    page.goto(shop.url + DOCUMENT)
    page.evaluate(
        "([key, kept]) => localStorage.setItem(key, JSON.stringify(kept))",
        [f"session-mgmt:{shop.url}api/:default:session", kept],
    )
    page.evaluate(START, user)
    page.wait_for_function("session.status === 'connected'")
    assert page.evaluate("session.id") == kept["session"]["session_id"]
    assert read_cookie(context) and not SECRET.search(page.evaluate(KEPT))
    page.evaluate("session.state.set('/note', 'a pot')")
    # One with what it had, where it asks nobody first.
    assert len(sockets) == 1 + len(user)


def test_s40_a_page_of_a_sister_domain_opens_no_socket_and_changes_nothing(context: BrowserContext, shop: Demo) -> None:
    page, evil = context.new_page(), context.new_page()
    ann = log_in(page, shop, "ann")
    open_page(page, shop, user=ann)
    page.wait_for_function("session.status === 'connected'")
    page.evaluate("session.state.set('/note', 'mine')")
    evil.goto(shop.url.replace("www.", "evil.") + DOCUMENT)
    statuses: list[int] = []
    evil.on("response", lambda answer: statuses.append(answer.status))
    session = page.evaluate("session.id")
    code, frames, message, enter, delete = evil.evaluate(KNOCK, [shop.url, session])
    assert code == 4509 and "connected" not in frames
    assert (message, enter, delete) == ("sent", "sent", "blocked")
    assert [status for status in statuses if status < 400] == []
    page.evaluate("session.state.set('/note', 'still mine')")
    page.wait_for_function("session.status === 'connected'")
    log_out(page, shop)
