"""What happens to tabs in their lives, on every transport: no publication and no addition is lost or done twice."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.browser.bare import ContextLost, Profile, Tab, open_profile
from tests.browser.plain import CLIENT, DOCUMENT
from tests.browser.waiting import BUSY
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

TRANSPORTS = ("websocket", "sse", "longpoll")
# All that the callbacks were told is kept in the tab's storage at once, so that a reload loses none of it. A tab's
# frame is a client of its own. Timers come as they are due, or where they are held, when somebody lets them.
PAGE = """
(async () => {
// A frame has an empty document first, whose window its own document may take over.
while (location.href === "about:blank") await new Promise((resolve) => { setTimeout(resolve, 10); });
if (window.begun !== undefined) return;
const isTop = window === top;
const kept = isTop ? "seen" : "seen:frame";
window.seen = () => JSON.parse(sessionStorage.getItem(kept) ?? "[]");
window.timers = null;
const clock = {
  now: () => Date.now(),
  setTimeout: (act, wait) => {
    const take = () => (window.timers ? window.timers.set(timer, act) : act());
    const timer = setTimeout(take, BUSY);
    return timer;
  },
  clearTimeout: (timer) => {
    clearTimeout(timer);
    window.timers?.delete(timer);
  },
};
window.release = () => {
  const due = [...window.timers.values()];
  window.timers.clear();
  for (const act of due) act();
};
CLIENT
window.begun = (async () => {
  while (window.session === undefined) await new Promise((resolve) => { setTimeout(resolve, 10); });
  window.losses = 0;
  session.on("connection_lost", () => (losses += 1));
  const topic = `demo:numbers:${session.id}`;
  await session.topics.subscribe(topic, (text) => sessionStorage.setItem(kept, JSON.stringify([...seen(), text])))
    .subscribed;
  window.write = (...texts) => {
    for (const text of texts) {
      for (const done of [session.topics.publish(topic, text), session.state.inc("/n")]) {
        done.catch(({ name }) => errors.push(name));
      }
    }
  };
})();
})();
""".replace("BUSY", BUSY)
OPTIONS = '{ name: "life", slot: isTop ? "" : "frame", transports: ["TRANSPORT"], clock }'
SETTLED = "session.status === 'connected' && session.pending === 0"
FRAME = """(() => {
  const frame = document.createElement("iframe");
  frame.src = location.href;
  document.documentElement.append(frame);
})()"""


class Pair:
    """Two tabs of one session. The network of the first can be cut; the second says what is to be heard."""

    def __init__(self, profile: Profile, demo: Demo, transport: str) -> None:
        self.transport = transport
        self._demo = demo
        self._told: list[str] = []
        self.one, self.two = (self._enter(profile, name) for name in ("one", "two"))
        self._session = self.one.run("session.id")

    def _enter(self, profile: Profile, name: str) -> Tab:
        tab = profile.open_tab(self._demo.url + DOCUMENT)
        client = CLIENT.replace("OPTIONS", OPTIONS.replace("TRANSPORT", self.transport))
        client = client.replace("via=one", f"via={name}").replace("/client/one/", f"/client/{name}/")
        tab.call("Page.addScriptToEvaluateOnNewDocument", source=PAGE.replace("CLIENT", client))
        self.reload(tab)
        return tab

    def reload(self, tab: Tab) -> None:
        """Load the page again, and wait for its client."""
        tab.call("Page.reload")
        self.has_begun(tab)

    def has_begun(self, tab: Tab) -> None:
        while True:
            try:
                tab.until("window.begun !== undefined && document.readyState === 'complete'")
                tab.run("begun")
                return
            except ContextLost:
                # The page before was asked.
                continue

    def write(self, tab: Tab, name: str, then: str = "", window: str = "window") -> None:
        """Publish and add from a tab, and do something else in the same turn of its loop."""
        texts = [f"{name} {n}" for n in range(10)]
        self._told += texts
        tab.run(f"(...texts) => {{ {window}.write(...texts); {then} }}", *texts)

    def control(self, verb: str) -> None:
        """``cut`` or ``mend`` the network of the first tab, or ``kill`` the server."""
        body = json.dumps({"clients": ["one"]}).encode()
        urllib.request.urlopen(f"{self._demo.url}demo-control/{verb}", body).close()

    def check(self) -> None:
        """Wait until everybody has everything, and compare it with the server's log."""
        count = len(self._told)
        for tab in (self.two, self.one):
            # A tab that is looked at asks at once, also where two others of the browser hold their polls.
            tab.call("Page.bringToFront")
            tab.until(f"{SETTLED} && seen().length >= {count} && session.state.get('/n') >= {count}")
        log = [data for _, data in self._demo.publications(f"demo:numbers:{self._session}")]
        assert sorted(log) == sorted(self._told)
        for tab in (self.one, self.two):
            seen, sum_, transport, errors = tab.run(
                "[seen(), session.state.get('/n'), session.stats().transport, errors]"
            )
            assert (seen, sum_, errors) == (log, len(log), [])
            # A stream that is late, as on a busy machine, is left for long polls.
            assert transport == self.transport or (self.transport, transport) == ("sse", "longpoll")
        for name in {text.split()[0] for text in log}:
            mine = [text for text in log if text.split()[0] == name]
            assert mine == sorted(mine), "a writer's order"


@pytest.fixture(scope="module", params=TRANSPORTS)
def pair(request: pytest.FixtureRequest, browser: Browser, debugging_port: int, demo: Demo) -> Iterator[Pair]:
    with open_profile(debugging_port) as profile:
        yield Pair(profile, demo, request.param)


def test_a_frozen_tab_has_everything_when_it_is_looked_at_again(pair: Pair) -> None:
    one, two = pair.one, pair.two
    two.call("Page.bringToFront")
    pair.write(one, "freezing")
    one.freeze()
    pair.write(two, "meanwhile")
    two.until(SETTLED)
    one.thaw()
    pair.check()


def test_a_hidden_tab_whose_timers_come_late_has_everything(pair: Pair) -> None:
    one, two = pair.one, pair.two
    two.call("Page.bringToFront")
    one.run("void (window.timers = new Map())")
    pair.write(one, "hidden")
    pair.control("kill")
    pair.write(two, "served")
    two.until(SETTLED)
    # Once a minute, as it were: whatever was due.
    for _ in range(3):
        one.run("release()")
    one.run("(() => { release(); window.timers = null; })()")
    pair.check()


def test_a_browser_that_is_offline_and_online_again_loses_nothing(pair: Pair) -> None:
    one = pair.one
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    one.call("Network.emulateNetworkConditions", offline=True, **conditions)
    pair.write(one, "offline")
    pair.write(pair.two, "beside")
    pair.two.until(SETTLED)
    one.call("Network.emulateNetworkConditions", offline=False, **conditions)
    pair.check()


def test_a_network_that_swallows_everything_is_survived(pair: Pair) -> None:
    pair.control("cut")
    pair.write(pair.one, "swallowed")
    pair.write(pair.two, "heard")
    pair.two.until(SETTLED)
    if pair.transport == "websocket":
        pair.one.until("session.status === 'reconnecting'")
    pair.control("mend")
    pair.check()


def test_a_killed_server_loses_nothing(pair: Pair) -> None:
    # The second one shows nothing about HTTP that it does not show about sockets.
    for name in ("first", "second") if pair.transport == "websocket" else ("first",):
        pair.write(pair.one, name)
        pair.control("kill")
        pair.write(pair.two, f"{name}too")
        pair.check()


def test_a_reload_in_the_turn_of_a_write_loses_nothing(pair: Pair) -> None:
    for name in ("typed", "again"):
        pair.write(pair.one, name, then="location.reload();")
        pair.has_begun(pair.one)
    pair.check()


def test_a_frame_is_a_client_of_its_own(pair: Pair) -> None:
    pair.one.run(FRAME)
    pair.one.until("frames[0]?.begun !== undefined")
    pair.one.run("frames[0].begun")
    pair.write(pair.one, "framed", window="frames[0]")
    pair.write(pair.one, "around")
    pair.one.until("frames[0].session.pending === 0")
    pair.check()
    assert pair.one.run("frames[0].session.clientId !== session.clientId")
    pair.one.run("document.querySelector('iframe').remove()")
