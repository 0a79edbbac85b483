"""Pages that Chromium keeps in its back/forward cache, while the tab shows another page of the same session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from project.demo.supervisor import find_free_port
from tests.browser.bare import Tab, open_profile
from tests.browser.plain import DOCUMENT
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

START = """async (options) => {
  window.seen = [];
  window.shown = [];
  addEventListener("pageshow", ({ persisted }) => shown.push(persisted));
  const { SessionClient } = await import("/static/session_mgmt/session-client.js");
  window.session = await SessionClient.start({ url: "/api/", ...options });
  await session.connection.connect();
  window.topic = `demo:numbers:${session.id}`;
  await session.topics.subscribe(topic, (n) => seen.push(n)).subscribed;
  window.write = (first) => Promise.all(Array.from({ length: 10 }, (_, n) => Promise.all([
    session.topics.publish(topic, first + n), session.state.inc("/n"),
  ])));
}"""
# What is written when the page goes has no answer yet.
WRITE_AND_GO = "write(10).catch(() => undefined); location.search = '?second';"


@pytest.fixture(scope="module")
def caching_port(browser: Browser, chromium: Path) -> Iterator[int]:
    """Port of a browser that keeps pages, as Playwright's do not."""
    port = find_free_port("127.0.0.1")
    options = ["--no-sandbox", f"--remote-debugging-port={port}"]
    cache = ["--disable-back-forward-cache"]
    caching = browser.browser_type.launch(executable_path=chromium, args=options, ignore_default_args=cache)
    yield port
    caching.close()


def has_all(tab: Tab, demo: Demo, count: int) -> None:
    """Everything has come to this page once and in order, from where it began to listen."""
    tab.until(f"session.status === 'connected' && session.pending === 0 && session.state.get('/n') === {count}")
    tab.until(f"seen.at(-1) === {count - 1}")
    seen = tab.run("seen")
    assert seen == list(range(count))[-len(seen) :]
    assert sorted(data for _, data in demo.publications(tab.run("topic"))) == list(range(count))


@pytest.mark.parametrize("shares", [False, True])
def test_a_page_comes_back_from_the_cache_and_nothing_is_lost_or_doubled(
    caching_port: int, demo: Demo, shares: bool
) -> None:
    options = {"name": "cached", "oneSocket": shares}
    with open_profile(caching_port) as profile:
        other = profile.open_tab(demo.url + DOCUMENT)
        tab = profile.open_tab(demo.url + DOCUMENT)
        for each in (tab, other):
            each.run(START, options)
        tab.run("write(0)")
        tab.go(WRITE_AND_GO)
        tab.run(START, options)
        has_all(other, demo, 20)
        tab.run("write(20)")
        tab.go("history.back()")
        assert tab.run("shown") == [True]
        has_all(tab, demo, 30)
        tab.run("write(30)")
        tab.go("history.forward()")
        assert tab.run("shown") == [True]
        for each in (tab, other):
            has_all(each, demo, 40)
        tab.run("write(40)")
        for each in (tab, other):
            has_all(each, demo, 50)
