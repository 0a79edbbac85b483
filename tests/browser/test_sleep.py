"""Tabs of a computer that sleeps for a day: they wake at once, and nothing is lost or done twice."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, Request

from tests.browser.people import log_in
from tests.browser.plain import Plain
from tests.browser.waiting import BUSY, PATIENCE
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

TABS = 8
# The clock of a computer that slept goes on where the world is; timers go on where they were.
OPTIONS = """{
  cache: "indexeddb",
  clock: {
    now: () => Date.now() + (window.slept ?? 0) * 3_600_000,
    setTimeout: (act, wait) => setTimeout(act, BUSY),
    clearTimeout: (timer) => clearTimeout(timer),
  },
}""".replace("BUSY", BUSY)
LISTEN = """() => {
  window.news = [];
  window.unsent = [];
  session.topics.subscribe("demo:news", (data) => news.push(data));
  session.on("unsent", (writes, reason) => unsent.push([writes.length, reason]));
  const wake = (hours) => {
    window.slept = hours;
    window.dispatchEvent(new Event("online"));
  };
  window.alarm = new BroadcastChannel("alarm");
  alarm.onmessage = ({ data }) => wake(data);
  window.wakeAll = (hours) => { alarm.postMessage(hours); wake(hours); };
}"""
ASKED = ("tokens/refresh/", "sessions/enter/")


def let_time_pass(database: Path, hours: int) -> None:
    """Make everything that a database holds so much older."""
    with contextlib.closing(sqlite3.connect(database, timeout=PATIENCE)) as connection, connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for _, column, kind, *_ in connection.execute(f'PRAGMA table_info("{table}")').fetchall():
                if kind.lower() == "datetime":
                    moved = f"strftime('%Y-%m-%d %H:%M:%f', \"{column}\", '-{hours} hours')"
                    connection.execute(f'UPDATE "{table}" SET "{column}" = {moved} WHERE "{column}" IS NOT NULL')


def read_rows(database: Path, query: str, *values: object) -> list[Any]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return connection.execute(query, values).fetchall()


def count_sessions(demo: Demo) -> int:
    (row,) = read_rows(demo.database, "SELECT count(*) FROM session_mgmt_clientsession")
    return int(row[0])


def publish_news(page: Page, demo: Demo, text: str) -> None:
    """Publish as staff, over HTTP."""
    csrf = page.request.get(f"{demo.url}api/login/").json()["csrf"]
    address = f"{demo.url}api/topics/demo:news/publications/"
    answer = page.request.post(address, data={"data": text}, headers={"X-CSRFToken": csrf})
    assert answer.ok, answer.text()


@pytest.mark.parametrize("hours", [23, 25])
def test_s33_eight_tabs_wake_at_once_with_one_refresh_or_one_recovery_and_lose_nothing(
    context: BrowserContext, people: Demo, hours: int
) -> None:
    is_same = hours < 24
    desk = context.new_page()
    ann = log_in(desk, people, "ann")
    tabs = [Plain.enter(context, people, OPTIONS) for _ in range(TABS)]
    for tab in tabs:
        tab.run(LISTEN)
        # Followed from a place on, so that nothing said meanwhile is missed.
        tab.until("Object.keys(sessionStorage).some((key) => key.endsWith('position:topic:demo:news'))")
    old, before = tabs[0].run("session.id"), count_sessions(people)
    tabs[0].run("session.state.set('/n', 1)")
    for tab in tabs:
        tab.until("session.state.get('/n') === 1")
    tabs[0].control("cut")
    tabs[0].run("void session.state.inc('/n')")
    # Whatever the server remembers is gone too, as after a day of deploys.
    tabs[0].control("kill")
    let_time_pass(people.database, hours)
    publish_news(desk, people, f"after {hours} hours")
    requests: list[Request] = []
    context.on("request", lambda request: requests.append(request))
    # The network comes back after every tab's clock: none can ask or store anything as if it were still yesterday.
    tabs[3].run(f"wakeAll({hours})")
    for tab in tabs:
        tab.until("window.slept")
    tabs[0].control("mend")
    for tab in tabs:
        tab.until(f"news.length > 0 && session.status === 'connected' && session.info.userId === '{ann}'")
        assert tab.run("[news, errors]") == [[f"after {hours} hours"], []]
    # A lock passes from tab to tab faster than what was stored under it: who still sees the storage of before sends the
    # same request once more, and gets the same answer.
    nonces = [{_read_nonce(request) for request in requests if request.url.endswith(call)} for call in ASKED]
    if is_same:
        assert tuple(map(len, nonces)) == (1, 0)
    else:
        # Sockets that were on their way when the tabs woke may tell that the session is over before any tab asks. Who
        # knows of the session of before, but sees already that its request was answered, asks by a new nonce: the
        # server leads both into one session.
        assert len(nonces[0]) <= 1 <= len(nonces[1])
    (now,) = {tab.run("session.id") for tab in tabs}
    assert (now == old) == is_same
    # A refresh makes a successor of a token that was used, a recovery the first token of one more session.
    tokens = "SELECT used_at IS NULL FROM session_mgmt_token WHERE kind = 'refresh' AND session_id = ? ORDER BY id"
    rows = read_rows(people.database, tokens, now.replace("-", ""))
    assert rows == [(0,), (1,)] if is_same else 1 <= len(rows) <= len(nonces[1])
    assert count_sessions(people) == before + (not is_same)
    told = [each for tab in tabs for each in tab.run("unsent")]
    assert [count for count, _ in told] == ([] if is_same else [1])
    if not is_same:
        # The session that it was written for is over: its application decides.
        tabs[0].run("session.state.inc('/n')")
    for tab in tabs:
        tab.until("session.state.get('/n') === 2 && session.pending === 0")
    tabs[0].is_settled()
    assert tabs[0].on_the_server() == {"n": 2}


def _read_nonce(request: Request) -> str:
    return str((request.post_data_json or {})["nonce"])
