"""Tabs of one browser that share one connection, against the real server: the tab that leads is closed, and crashes."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Error

from tests.browser.plain import Plain
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

SHARED = '{"name":"shared","oneSocket":true}'
LISTEN = """() => {
  window.seen = [];
  const subscription = session.topics.subscribe(`demo:numbers:${session.id}`, (n) => window.seen.push(n));
  return subscription.subscribed;
}"""
# Ten publications and ten additions, all of them under way at once.
WRITE = """(first) => Promise.all(Array.from({ length: 10 }, (_, n) => Promise.all([
  session.topics.publish(`demo:numbers:${session.id}`, first + n), session.state.inc("/n"),
])))"""
CONNECTIONS = """async () => {
  const answer = await fetch(`/api/sessions/${session.id}/connections/`, { headers: session.auth.headers() });
  return (await answer.json()).results.map(({ transport }) => transport);
}"""


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
    assert [tab.run("session.stats().transport") for tab in (leader, second, third)] == ["websocket", "tab", "tab"]
    for tab, first in ((leader, 0), (second, 10), (third, 20)):
        write(tab, first)
    for tab in (leader, second, third):
        has_heard(tab, range(30))
    assert second.run(CONNECTIONS) == ["websocket"]

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
