"""Documents on the screen before the network answers, and without it."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.plain import Plain
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

CACHED = '{"cache":"indexeddb","name":"copy"}'
FULL = {"cart": ["tea"], "visits": 1}


def test_a_reload_without_a_network_shows_the_copy_and_what_is_written_then_arrives_once(
    context: BrowserContext, demo: Demo
) -> None:
    plain = Plain.enter(context, demo, CACHED)
    plain.run("session.state.replace({cart: ['tea'], visits: 1})")
    plain.is_settled()
    plain.control("cut")
    plain.run("void session.state.inc('/visits')")
    plain.reload()
    assert plain.run("first") == {"data": {**FULL, "visits": 2}, "fromCache": True, "status": "connecting"}
    plain.until("heard.length > 0")
    assert plain.run("heard") == [["cache", {**FULL, "visits": 2}]]
    plain.run("void session.state.inc('/visits')")
    plain.run("void session.state.insert('/cart/-', 'milk')")
    plain.reload()
    assert plain.run("first.data") == {"cart": ["tea", "milk"], "visits": 3}
    assert plain.on_the_server() == FULL
    plain.control("mend")
    plain.is_settled()
    assert plain.run("session.state.get()") == plain.on_the_server() == {"cart": ["tea", "milk"], "visits": 3}
    assert plain.run("errors") == []


def test_a_new_tab_without_a_network_shows_the_copy_of_the_other(context: BrowserContext, demo: Demo) -> None:
    plain = Plain.enter(context, demo, CACHED)
    plain.run("session.state.replace({n: 1})")
    for _ in range(5):
        plain.run("session.state.inc('/n')")
    plain.is_settled()
    plain.control("cut")
    other = Plain.enter(context, demo, CACHED)
    assert other.run("first") == {"data": {"n": 6}, "fromCache": True, "status": "connecting"}
    plain.control("mend")
    other.run("void session.state.inc('/n')")
    other.is_settled()
    plain.until("session.state.get('/n') === 7")


def test_a_page_left_right_after_a_change_shows_it_when_it_comes_back(context: BrowserContext, demo: Demo) -> None:
    plain = Plain.enter(context, demo, CACHED)
    plain.run("session.state.replace({n: 0})")
    plain.is_settled()
    plain.run("() => { void session.state.inc('/n').then(() => location.reload()); }")
    plain.page.wait_for_function("window.first?.data.n === 1")
    plain.control("cut")
    plain.reload()
    assert plain.run("first") == {"data": {"n": 1}, "fromCache": True, "status": "connecting"}
    plain.control("mend")


def test_a_terminated_session_leaves_no_copy_behind(context: BrowserContext, demo: Demo) -> None:
    plain = Plain.enter(context, demo, CACHED)
    plain.run("session.state.replace({secret: 1})")
    plain.is_settled()
    assert plain.records()
    plain.run("session.sessions.terminateSession()")
    assert plain.records() == []
    plain.until("session.status === 'failed'")
    plain.reload()
    assert plain.run("first") == {"data": {}, "fromCache": False, "status": "connecting"}


def test_a_change_of_a_large_document_is_kept_at_the_price_of_the_change(context: BrowserContext, demo: Demo) -> None:
    plain = Plain.enter(context, demo, CACHED)
    # Above what a frame takes, so over HTTP.
    plain.run("""fetch(`/api/sessions/${session.id}/state/main/`, {
      method: "PUT", headers: { ...session.auth.headers(), "Content-Type": "application/json" },
      body: JSON.stringify({ n: 0, rows: Array.from({ length: 40000 }, (_, n) => `row ${n} `.repeat(8)) }),
    }).then((answer) => answer.ok || Promise.reject(answer.status))""")
    plain.until("session.state.get('/rows')?.length === 40000")
    plain.run("""() => {
      window.largest = 0;
      const put = IDBObjectStore.prototype.put;
      IDBObjectStore.prototype.put = function (value, key) {
        largest = Math.max(largest, JSON.stringify(value).length);
        return put.call(this, value, key);
      };
    }""")
    for _ in range(20):
        plain.run("session.state.inc('/n')")
    plain.is_settled()
    assert 0 < plain.run("largest") < 1000
    plain.control("cut")
    plain.reload()
    assert plain.run("[first.data.n, first.data.rows.length]") == [20, 40000]
    plain.control("mend")
