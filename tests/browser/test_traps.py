"""Traps of `tests/traps/test_traps.py` that hang on what a browser does: a client that has been there all the time."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route

from tests.browser.conftest import ROOT
from tests.browser.plain import DOCUMENT
from tests.browser.waiting import BUSY, PATIENCE, open_context
from tests.browser.watching import Demo

pytestmark = [pytest.mark.browser, pytest.mark.sqlite]

# Each test has a session of its own in the same two pages. The client's clock may be put forward.
PAGE = """
window.enter = async (name) => {
  const { SessionClient } = await import("/static/session_mgmt/session-client.js");
  const client = window.client = { name, told: [], verdicts: [], gaps: [], frames: [], ahead: 0 };
  class Socket extends WebSocket {
    constructor(url, protocols) {
      super(`${client.isAway ? `ws://${location.host}/nowhere/` : url}?via=VIA`, protocols);
      client.socket = this;
    }
    send(text) { client.frames.push(JSON.parse(text)); super.send(text); }
  }
  window.session = await SessionClient.start({
    url: "/api/", name, WebSocket: Socket, transports: ["websocket"],
    fetch: (url, init) => fetch(url, { ...init, referrer: "/client/VIA/" }),
    clock: {
      now: () => Date.now() + client.ahead,
      setTimeout: (act, wait) => setTimeout(act, BUSY),
      clearTimeout: (timer) => clearTimeout(timer),
    },
  });
  session.on("recovery", ({ verdict }) => client.verdicts.push(verdict));
  session.on("gap", (gap) => client.gaps.push(gap));
  await session.connection.connect();
};
window.topic = () => `demo:numbers:${session.id}`;
window.follow = () => session.topics.subscribe(topic(), (data) => client.told.push(data)).subscribed;
window.publish = async (...texts) => { for (const text of texts) await session.topics.publish(topic(), text); };
""".replace("BUSY", BUSY)


class Pair:
    """Two tabs of one browser: the network of the first can be cut, the second goes on."""

    def __init__(self, context: BrowserContext, demo: Demo) -> None:
        self.demo = demo
        self.one, self.two = (self._open(context, via) for via in ("one", "two"))

    def _open(self, context: BrowserContext, via: str) -> Page:
        page = context.new_page()
        page.add_init_script(PAGE.replace("VIA", via))
        page.goto(self.demo.url + DOCUMENT)
        return page

    def enter(self, name: str) -> None:
        """Begin a session, whose topic the first tab follows."""
        for page in (self.one, self.two):
            page.evaluate("(name) => enter(name)", name)
        self.one.evaluate("follow()")

    def leave(self) -> None:
        for page in (self.one, self.two):
            page.evaluate("window.session?.close()")

    def cut(self) -> None:
        self._control("cut")
        self.one.wait_for_function("session.status !== 'connected'")

    def mend(self) -> None:
        self._control("mend")
        # The next attempt is due at some time; a browser that says so brings it forward.
        self.one.evaluate("void window.dispatchEvent(new Event('online'))")
        self.one.wait_for_function("session.status === 'connected'")

    def lose_socket(self) -> None:
        """Let the first tab's socket end, and no other open."""
        self.one.evaluate("client.isAway = true; client.socket.close()")
        self.one.wait_for_function("session.status !== 'connected'")

    def find_socket(self) -> None:
        self.one.evaluate("client.isAway = false; void window.dispatchEvent(new Event('online'))")
        self.one.wait_for_function("session.status === 'connected'")

    def _control(self, verb: str) -> None:
        answer = self.one.request.post(f"{self.demo.url}demo-control/{verb}", data={"clients": ["one"]})
        assert answer.ok, answer.text()

    def publish(self, *texts: str) -> None:
        self.two.evaluate("(texts) => publish(...texts)", texts)

    def has_been_told(self, *texts: str) -> None:
        """The first tab has everything, once and in order, and was told of no loss."""
        self.one.wait_for_function("(many) => client.told.length >= many", arg=len(texts))
        assert self.one.evaluate("[client.told, client.gaps]") == [list(texts), []]

    def read_verdicts(self, many: int) -> Any:
        self.one.wait_for_function("(many) => client.verdicts.length >= many", arg=many)
        return self.one.evaluate("client.verdicts")


@pytest.fixture(scope="module")
def tabs(browser: Browser, demo: Demo) -> Iterator[Pair]:
    context = open_context(browser)
    yield Pair(context, demo)
    context.close()


@pytest.fixture
def pair(tabs: Pair, request: pytest.FixtureRequest) -> Iterator[Pair]:
    tabs.enter(request.node.name)
    yield tabs
    tabs.leave()


def test_trap_1_a_page_that_was_told_nothing_resumes_with_what_came_meanwhile(pair: Pair) -> None:
    before = pair.one.evaluate("[session.id, session.clientId]")
    pair.cut()
    pair.publish("a", "b", "c")
    pair.mend()
    pair.has_been_told("a", "b", "c")
    assert pair.read_verdicts(1) == ["full"]
    assert pair.one.evaluate("[session.id, session.clientId]") == before


def test_trap_2_a_page_that_was_connected_for_three_times_the_retention_and_told_nothing_resumes(pair: Pair) -> None:
    pair.publish("long ago", "long ago too")
    pair.has_been_told("long ago", "long ago too")
    let_topics_age(pair.demo, hours=72)
    pair.cut()
    pair.mend()
    assert pair.read_verdicts(1) == ["full"]
    pair.cut()
    pair.publish("now")
    pair.mend()
    pair.has_been_told("long ago", "long ago too", "now")
    assert pair.read_verdicts(2) == ["full", "full"]


def let_topics_age(demo: Demo, hours: int) -> None:
    """Make all publications so much older, and clean up: one is left of each topic, for its place."""
    with contextlib.closing(sqlite3.connect(demo.database, timeout=PATIENCE)) as connection, connection:
        moved = f"strftime('%Y-%m-%d %H:%M:%f', at, '-{hours} hours')"
        connection.execute(f"UPDATE session_mgmt_publication SET at = {moved}")
    before = count_publications(demo)
    environment = {**os.environ, "SQLITE_PATH": str(demo.database), "DJANGO_SETTINGS_MODULE": "project.settings"}
    command = [sys.executable, "manage.py", "cleanup_sessions"]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert count_publications(demo) < before


def count_publications(demo: Demo) -> int:
    with contextlib.closing(sqlite3.connect(demo.database, timeout=PATIENCE)) as connection:
        return int(connection.execute("SELECT count(*) FROM session_mgmt_publication").fetchone()[0])


def test_trap_3_ten_drops_in_a_row_resume_in_full(pair: Pair) -> None:
    numbers = [str(number) for number in range(10)]
    for many, number in enumerate(numbers, start=1):
        pair.lose_socket()
        pair.publish(number)
        pair.find_socket()
        assert pair.read_verdicts(many) == ["full"] * many
    pair.has_been_told(*numbers)


RESUBSCRIBE = """() => {
  let stop = null;
  const take = (data) => {
    client.again.push(data);
    stop();
    stop = session.topics.subscribe(topic(), take);
    throw new Error("of the application");
  };
  client.again = [];
  stop = session.topics.subscribe(topic(), take);
  return stop.subscribed;
}"""


def test_trap_7_a_callback_that_subscribes_anew_and_throws_hears_everything_once(pair: Pair) -> None:
    pair.one.evaluate(RESUBSCRIBE)
    pair.publish("a")
    pair.cut()
    pair.publish("b", "c")
    pair.mend()
    pair.publish("d")
    pair.has_been_told("a", "b", "c", "d")
    pair.one.wait_for_function("client.again.length >= 4")
    assert pair.one.evaluate("client.again") == ["a", "b", "c", "d"]


FOR_TOKENS = re.compile(r"/api/(tokens/refresh|sessions/enter)/$")
TOKENS = "Object.entries(localStorage).find(([key]) => key.includes(client.name) && key.endsWith(':session'))[1]"


def test_trap_13_tokens_that_do_not_come_at_first_wedge_no_page(pair: Pair) -> None:
    calls: list[str] = []

    def answer(route: Route) -> None:
        calls.append(route.request.url)
        if len(calls) == 1:
            return route.abort()
        if len(calls) == 2:
            return route.fulfill(status=503, body="<html>Not now</html>", content_type="text/html")
        return route.fallback()

    before = pair.one.evaluate(TOKENS)
    pair.one.route(FOR_TOKENS, answer)
    # The machine slept for longer than a token lives: no socket is there that could bring one.
    pair.lose_socket()
    pair.one.evaluate("void (client.ahead = 20 * 3_600_000)")
    pair.find_socket()
    pair.one.unroute(FOR_TOKENS)
    assert len(calls) >= 3
    assert pair.one.evaluate(TOKENS) != before
    pair.publish("after it")
    pair.has_been_told("after it")


def test_trap_23_a_subscription_that_races_a_reconnect_is_one(pair: Pair) -> None:
    pair.cut()
    pair.one.evaluate("client.frames.length = 0")
    pair.one.evaluate("void [follow(), follow()]")
    pair.mend()
    pair.one.evaluate("follow()")
    pair.publish("once for each")
    pair.one.wait_for_function("client.told.length >= 4")
    assert pair.one.evaluate("client.told") == ["once for each"] * 4
    named = "client.frames.filter(({ type, log }) => type.endsWith('subscribe') && log === `topic:${topic()}`).length"
    assert pair.one.evaluate(named) == 0, "it was in `connect`, and its callbacks are the client's own business"
