"""Tabs of one browser that share one connection, against the real server, whatever becomes of the tab that leads."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, BrowserContext, Error

from tests.browser.bare import open_profile
from tests.browser.numbers import CONNECTION, LISTEN_AND_WRITE, has_all
from tests.browser.plain import CLIENT, DOCUMENT, Plain
from tests.browser.waiting import LEADER_CLOCK
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

SHARED = f'{{"name":"shared","oneSocket":true,clock:{LEADER_CLOCK}}}'
LISTEN = """() => {
  window.seen = [];
  const subscription = session.topics.subscribe(`demo:numbers:${session.id}`, (n) => window.seen.push(n));
  return subscription.subscribed;
}"""
# Ten publications and ten additions, all of them under way at once.
WRITE = """(first) => Promise.all(Array.from({ length: 10 }, (_, n) => Promise.all([
  session.topics.publish(`demo:numbers:${session.id}`, first + n), session.state.inc("/n"),
])))"""
# A frame has the storage of its tab, so it needs a name of its own in there.
FRAMED = f'{{"name":"shared","oneSocket":true,"slot":"frame",clock:{LEADER_CLOCK}}}'


def enter(context: BrowserContext, demo: Demo) -> Plain:
    tab = Plain.enter(context, demo, SHARED)
    tab.until("session.status === 'connected' && session.state.position !== null")
    tab.run(LISTEN)
    return tab


def write(tab: Plain, first: int) -> None:
    tab.page.evaluate(WRITE, first)


def has_heard(tab: Plain, numbers: range) -> None:
    """Each publication has come to this tab's listener, once and in its writer's order."""
    tab.until(f"window.seen.length >= {len(numbers)} && session.state.get('/n') === {len(numbers)}")
    assert tab.run("window.seen") == list(numbers)


def test_tabs_have_one_socket_and_go_on_when_the_leader_is_closed_and_when_it_crashes(
    context: BrowserContext, demo: Demo
) -> None:
    leader, second, third = (enter(context, demo) for _ in range(3))
    for tab, transport in ((leader, "websocket"), (second, "tab"), (third, "tab")):
        tab.until(f"session.stats().transport === '{transport}'")
    for tab, first in ((leader, 0), (second, 10), (third, 20)):
        write(tab, first)
    for tab in (leader, second, third):
        has_heard(tab, range(30))
    assert second.run(CONNECTION) == ["websocket"]

    leader.page.close()
    write(third, 30)
    second.until("session.stats().transport === 'websocket'")
    write(second, 40)
    for tab in (second, third):
        has_heard(tab, range(50))

    with pytest.raises(Error):
        second.page.goto("chrome://crash")
    write(third, 50)
    third.until("session.stats().transport === 'websocket'")
    has_heard(third, range(60))
    third.is_settled()
    assert third.on_the_server() == {"n": 60}


def test_a_copied_tab_and_a_frame_follow_as_clients_of_their_own(context: BrowserContext, demo: Demo) -> None:
    first = enter(context, demo)
    with first.page.expect_popup() as opened:
        first.run("() => { window.open(location.href); }")
    copy = Plain(opened.value, demo)
    copy.page.wait_for_load_state()
    copy.run(CLIENT.replace("OPTIONS", SHARED))
    copy.has_started()
    copy.until("session.status === 'connected'")
    copy.run(LISTEN)
    first.run("""() => {
      const frame = document.createElement("iframe");
      frame.src = location.href;
      document.documentElement.append(frame);
    }""")
    first.until("frames[0]?.refused === 'slot_taken'")
    frame = first.page.frames[1]
    frame.evaluate(CLIENT.replace("OPTIONS", FRAMED))
    frame.wait_for_function("window.session?.status === 'connected'")
    frame.evaluate(LISTEN)
    for writer, begin in ((first.page, 0), (copy.page, 10), (frame, 20)):
        writer.evaluate(WRITE, begin)
    for reader in (first.page, copy.page, frame):
        reader.wait_for_function("seen.length === 30 && session.state.get('/n') === 30")
        assert reader.evaluate("seen") == list(range(30))
    for reader, transport in ((first.page, "websocket"), (copy.page, "tab"), (frame, "tab")):
        reader.wait_for_function(f"session.stats().transport === '{transport}'")
    assert len({reader.evaluate("session.clientId") for reader in (first.page, copy.page, frame)}) == 3
    assert copy.run(CONNECTION) == ["websocket"]


def test_a_leader_that_is_hidden_or_frozen_makes_way_and_follows(
    browser: Browser, debugging_port: int, demo: Demo
) -> None:
    leads, follows = (f"session.stats().transport === '{name}'" for name in ("websocket", "tab"))
    options = {"name": "led", "oneSocket": True}
    with open_profile(debugging_port) as profile:
        first = profile.open_tab(demo.url + DOCUMENT)
        first.run(LISTEN_AND_WRITE, options)
        first.run("write(0)")
        # In front of the first one, which nobody sees any more.
        second = profile.open_tab(demo.url + DOCUMENT)
        second.run(LISTEN_AND_WRITE, options)
        second.until(leads)
        first.until(follows)
        first.run("write(10)")
        third = profile.open_tab(demo.url + DOCUMENT)
        second.freeze()
        first.run("write(20)")
        third.run(LISTEN_AND_WRITE, options)
        third.until(leads)
        third.run("write(30)")
        second.thaw()
        second.until(follows)
        for tab in (first, second, third):
            has_all(tab, demo, 40)
        assert third.run(f"({CONNECTION})()") == ["websocket"]
