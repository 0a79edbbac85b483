"""Tabs that are closed, copied or share their storage: every write is sent once, as whose it is."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext

from tests.browser.plain import CLIENT, Plain
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

OPTIONS = '{"name":"closed"}'
ADD = "() => { for (let n = 0; n < 20; n += 1) session.state.inc('/n'); }"
# The write and the reload in one turn of the loop, before the client has had any connection.
WRITE_AND_RELOAD = "() => { session.state.set('/text', 'typed'); location.reload(); }"


def enter_connected(context: BrowserContext, demo: Demo) -> Plain:
    plain = Plain.enter(context, demo, OPTIONS)
    plain.until("session.status === 'connected' && session.state.position !== null")
    return plain


def test_twenty_additions_of_a_tab_that_was_closed_without_a_network_arrive_exactly_once(
    context: BrowserContext, demo: Demo
) -> None:
    closed = enter_connected(context, demo)
    name = closed.run("session.clientId")
    closed.control("cut")
    closed.run(ADD)
    closed.page.close()
    reopened = Plain.enter(context, demo, OPTIONS)
    reopened.until("session.pending === 20")
    reopened.run("session.on('adopted', ({ count }) => (window.adopted = count))")
    reopened.control("mend")
    reopened.until("session.status === 'connected' && session.pending === 0 && session.state.get('/n') === 20")
    assert reopened.on_the_server() == {"n": 20}
    assert reopened.run("[window.adopted, session.clientId]") != [20, name]
    reopened.reload()
    reopened.is_settled()
    assert reopened.on_the_server() == {"n": 20}


def test_a_tab_that_is_closed_right_after_it_sent_has_its_writes_counted_once(
    context: BrowserContext, demo: Demo
) -> None:
    other = enter_connected(context, demo)
    for total in (20, 40, 60):
        tab = enter_connected(context, demo)
        tab.run(ADD)
        tab.page.close(run_before_unload=True)
        other.reload()
        other.until(f"session.status === 'connected' && session.pending === 0 && session.state.get('/n') === {total}")
        assert other.on_the_server() == {"n": total}


def test_two_tabs_share_the_work_of_a_closed_one(context: BrowserContext, demo: Demo) -> None:
    closed = enter_connected(context, demo)
    closed.control("cut")
    closed.run(ADD)
    closed.page.close()
    tabs = [Plain.enter(context, demo, OPTIONS) for _ in range(2)]
    tabs[0].control("mend")
    for tab in tabs:
        tab.until("session.status === 'connected' && session.pending === 0 && session.state.get('/n') === 20")
    assert tabs[0].on_the_server() == {"n": 20}


def test_a_copied_tab_is_a_client_of_its_own_and_the_first_one_keeps_its_writes(
    context: BrowserContext, demo: Demo
) -> None:
    original = enter_connected(context, demo)
    original.control("cut")
    original.run(ADD)
    # The browser copies the storage of a tab that opens another one.
    with original.page.expect_popup() as opened:
        original.run("() => { window.open(location.href); }")
    copy = Plain(opened.value, demo)
    copy.page.wait_for_load_state()
    copy.run(CLIENT.replace("OPTIONS", OPTIONS))
    copy.has_started()
    assert copy.run("session.pending") == 0
    original.control("mend")
    for plain in (original, copy):
        plain.until("session.status === 'connected' && session.pending === 0 && session.state.get('/n') === 20")
    assert copy.run("session.clientId") != original.run("session.clientId")
    assert original.on_the_server() == {"n": 20}


def test_a_second_client_in_one_tab_is_refused_and_takes_nothing_from_the_first(
    context: BrowserContext, demo: Demo
) -> None:
    plain = enter_connected(context, demo)
    plain.control("cut")
    plain.run(ADD)
    started = "import('/static/session_mgmt/session-client.js').then(({ SessionClient }) =>"
    told = plain.run(f"{started} SessionClient.start({OPTIONS})).catch(({{ name, message }}) => [name, message])")
    assert told[0] == "slot_taken" and "slot" in told[1]
    # In a frame of the tab as well, though that is another document.
    plain.run("""() => {
      const frame = document.createElement("iframe");
      frame.src = location.href;
      document.documentElement.append(frame);
    }""")
    plain.until("frames[0]?.refused === 'slot_taken'")
    plain.reload()
    assert plain.run("session.pending") == 20
    plain.control("mend")
    plain.is_settled()
    assert plain.on_the_server() == {"n": 20}


def test_storage_that_came_back_older_loses_nothing_that_was_typed(context: BrowserContext, demo: Demo) -> None:
    plain = enter_connected(context, demo)
    kept = plain.run("Object.entries(sessionStorage)")
    plain.run("() => { for (let n = 1; n <= 5; n += 1) session.state.set('/note', n); }")
    plain.until("session.pending === 0")
    plain.control("cut")
    restore = "kept => { sessionStorage.clear(); for (const [key, value] of kept) sessionStorage.setItem(key, value); }"
    plain.run("session.close()")
    plain.page.evaluate(restore, kept)
    plain.reload()
    plain.run(WRITE_AND_RELOAD)
    plain.has_started()
    plain.control("mend")
    plain.until("session.status === 'connected' && session.pending === 0")
    assert plain.on_the_server() == {"note": 5, "text": "typed"}
