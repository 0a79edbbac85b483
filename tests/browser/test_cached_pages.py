"""Pages that Chromium keeps in its back/forward cache, while the tab shows another page of the same session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from tests.browser.bare import Tab, open_profile
from tests.browser.chromium import launch
from tests.browser.numbers import CONNECTION, LISTEN_AND_WRITE, has_all
from tests.browser.plain import DOCUMENT
from tests.browser.watching import Demo
from tests.ports import take_port

pytestmark = pytest.mark.browser

# What is written when the page goes has no answer yet.
WRITE_AND_GO = "write(10).catch(() => undefined); location.search = '?second';"


@pytest.fixture(scope="module")
def caching_port(browser: Browser, chromium: Path) -> Iterator[int]:
    """Port of a browser that keeps pages, as Playwright's do not."""
    port = take_port()
    cache = ["--disable-back-forward-cache"]
    caching = launch(browser.browser_type, chromium, f"--remote-debugging-port={port}", ignore_default_args=cache)
    yield port
    caching.close()


def come_back(tab: Tab, script: str, options: dict[str, object]) -> bool:
    """Go to an earlier page, and return True if it was in the cache."""
    tab.go(script)
    is_kept = bool(tab.run("window.shown?.[0] ?? false"))
    if not is_kept:
        tab.run("window.isAnew = true")
        tab.run(LISTEN_AND_WRITE, options)
    return is_kept


@pytest.mark.parametrize("shares", [False, True])
def test_a_page_comes_back_from_the_cache_and_nothing_is_lost_or_doubled(
    caching_port: int, demo: Demo, shares: bool
) -> None:
    options = {"name": "cached", "oneSocket": shares}
    with open_profile(caching_port) as profile:
        other = profile.open_tab(demo.url + DOCUMENT)
        tab = profile.open_tab(demo.url + DOCUMENT)
        for each in (tab, other):
            each.run(LISTEN_AND_WRITE, options)
        tab.run("write(0)")
        tab.go(WRITE_AND_GO)
        tab.run(LISTEN_AND_WRITE, options)
        has_all(other, demo, 20)
        tab.run("write(20)")
        kept: list[bool] = []
        count = 30
        # Back and forward, and again if a busy browser has emptied its cache.
        while len(kept) < 2 or True not in kept:
            kept.append(come_back(tab, "history.forward()" if len(kept) % 2 else "history.back()", options))
            for each in (tab, other):
                has_all(each, demo, count)
            tab.run(f"write({count})")
            count += 10
        for each in (tab, other):
            has_all(each, demo, count)
        if shares:
            assert other.run(f"({CONNECTION})()") == ["websocket"]
