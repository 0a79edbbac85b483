"""Tabs of one browser without a WebSocket: over HTTP/1.1 they have six connections in all, and leave most free."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.plain import Plain
from tests.browser.test_without_websocket import REFUSING
from tests.browser.waiting import STREAM_CLOCK
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

TABS = f'{{"name":"tabs",clock:{STREAM_CLOCK}}}'
# Tells the other tabs of each poll whether the server holds it, as a stream or not.
NOTE_POLLS = """
const realFetch = window.fetch;
const place = `poll:${Math.random()}`;
window.fetch = (url, init = {}) => {
  if (`${url}`.endsWith("/connections/poll/") && !window.isLast) {
    const isStream = new Headers(init.headers).get("Accept") === "text/event-stream";
    window.isHeld = isStream || JSON.parse(init.body).hold > 0;
    localStorage.setItem(place, window.isHeld ? "held" : "short");
  }
  return realFetch(url, init);
};
window.forgetPolls = () => {
  window.isLast = true;
  localStorage.removeItem(place);
};
"""
POLLS = "Object.entries(localStorage).filter(([place]) => place.startsWith('poll:')).map(([, kind]) => kind)"
LISTEN = """() => {
  window.seen = [];
  return session.topics.subscribe(`demo:numbers:${session.id}`, (n) => window.seen.push(n)).subscribed;
}"""
PUBLISH = "(n) => session.topics.publish(`demo:numbers:${session.id}`, n)"
ASK_SITE = "(path) => fetch(path, { cache: 'no-store' }).then(({ ok }) => ok)"


def enter(context: BrowserContext, demo: Demo) -> Plain:
    tab = Plain.enter(context, demo, TABS)
    tab.until("session.status === 'connected'")
    tab.run(LISTEN)
    return tab


def share(tabs: list[Plain]) -> None:
    """All of these tabs have polled, and two of them have a poll that is held."""
    tabs[0].until(f"{POLLS}.length === {len(tabs)} && {POLLS}.filter((kind) => kind === 'held').length === 2")


def test_four_tabs_hold_two_polls_and_each_hears_everything_once(context: BrowserContext, demo: Demo) -> None:
    context.add_init_script(REFUSING + NOTE_POLLS)
    tabs = [enter(context, demo) for _ in range(4)]
    share(tabs)
    for n, tab in enumerate(tabs):
        assert tab.page.evaluate(ASK_SITE, "/static/demo/style.css")
        tab.page.evaluate(PUBLISH, n)
    for tab in tabs:
        tab.until("window.seen.length >= 4")
    assert [tab.run("window.seen") for tab in tabs] == [[0, 1, 2, 3]] * 4

    holder = next(tab for tab in tabs if tab.run("window.isHeld"))
    tabs.remove(holder)
    holder.run("window.forgetPolls()")
    holder.page.close()
    share(tabs)
    tabs[0].page.evaluate(PUBLISH, 4)
    for tab in tabs:
        tab.until("window.seen.length >= 5")
    assert [tab.run("window.seen") for tab in tabs] == [[0, 1, 2, 3, 4]] * 3
