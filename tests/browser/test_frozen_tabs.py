"""A tab that the browser has frozen while its person logs out in another one."""

from __future__ import annotations

import json
import urllib.request

import pytest
from playwright.sync_api import Browser

from tests.browser.bare import Tab, open_profile
from tests.browser.people import KEPT, LOG_OUT, PASSWORD, START, SWITCH
from tests.browser.plain import DOCUMENT
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

# A page that counts on, shows what it has, and writes: what a frozen one must not do.
WORK = """() => {
  window.ticks = 0;
  window.lives = [];
  const note = (type) => lives.push([type, ticks, session.state.get(), session.id, Object.keys(localStorage).length]);
  for (const type of ["freeze", "resume"]) document.addEventListener(type, () => note(type));
  setInterval(() => {
    ticks += 1;
    if (lives.length === 0) return;
    note("tick");
    void session.state.set("/note", "late").catch(() => undefined);
  }, 5);
}"""
# Chromium lets messages into a frozen tab; of a tab that hears nothing only its connection can be cut.
DEAF = """() => {
  window.WebSocket = class extends WebSocket {
    constructor(url, protocols) { super(`${url}?via=one`, protocols); }
  };
  window.BroadcastChannel = undefined;
  window.addEventListener("storage", (event) => event.stopImmediatePropagation());
}"""


def log_in(tab: Tab, name: str) -> str:
    return str(tab.run(SWITCH, {"username": name, "password": PASSWORD}))


def control(demo: Demo, verb: str) -> None:
    body = json.dumps({"clients": ["one"]}).encode()
    urllib.request.urlopen(f"{demo.url}demo-control/{verb}", body).close()


@pytest.mark.parametrize("hears", [True, False])
def test_s15_a_frozen_tab_has_nothing_of_a_session_that_ended_meanwhile_when_it_resumes(
    browser: Browser, debugging_port: int, people: Demo, hears: bool
) -> None:
    with open_profile(debugging_port) as profile:
        frozen, other = (profile.open_tab(people.url + DOCUMENT) for _ in range(2))
        ann = log_in(other, "ann")
        if not hears:
            frozen.run(f"({DEAF})()")
        for tab in (frozen, other):
            assert tab.run(START, {}) == [ann, {}]
        frozen.run("session.state.set('/note', 'of ann')")
        other.until("session.state.get('/note') === 'of ann'")
        frozen.run(f"({WORK})()")
        if not hears:
            control(people, "cut")
        frozen.freeze()
        # It answers, as it does to developers, but nothing in it goes on.
        stopped = frozen.run("[ticks, lives.map(([type]) => type)]")
        assert stopped[1] == ["freeze"]
        other.run(f"({LOG_OUT})()")
        other.until("events.some(([name]) => name === 'ended')")
        bob = log_in(other, "bob")
        while hears and frozen.run("session.state.get()") != {}:
            # Its message is under way. Nothing in the page can wait for it.
            pass
        assert frozen.run("session.state.get()") == ({} if hears else {"note": "of ann"})
        assert frozen.run("[ticks, lives.map(([type]) => type)]") == stopped
        frozen.sent.clear()
        control(people, "mend")
        frozen.thaw()
        frozen.until("lives.length > 20 && session.status === 'failed' && events.length === 2")
        told = frozen.run("lives")
        assert [type_ for type_, *_ in told[:2]] == ["freeze", "resume"]
        assert [state for _, _, state, *_ in told[1:]] == [{}] * (len(told) - 1)
        assert frozen.run("events.map(([name]) => name)") == ["identity", "ended"]
        later = profile.open_tab(people.url + DOCUMENT)
        assert later.run(START, {}) == [bob, {}]
        later.run("session.state.set('/note', 'of bob')")
        # Not even what it was about to write; a question for life says nothing of a session.
        assert [frame for frame in frozen.sent if '"type":"ping"' not in frame] == []
        assert later.run("session.state.get()") == {"note": "of bob"}
        kept = frozen.run(f"({KEPT})()")
        assert "of ann" not in kept and "late" not in kept
