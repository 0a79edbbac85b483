"""Two people, one after the other, in one Chromium, with Django's login and a real server."""

from __future__ import annotations

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.people import KEPT, log_in, log_out, open_page, switch_user, write
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("names", [("ann", "bob"), ("bob", "ann")])
@pytest.mark.parametrize("says_user", [False, True])
@pytest.mark.parametrize("logs_out", [False, True])
@pytest.mark.requirement("ASVS 14.3.1")
def test_s01_the_next_person_finds_nothing_of_the_one_before(
    context: BrowserContext, people: Demo, names: tuple[str, str], says_user: bool, logs_out: bool
) -> None:
    page = context.new_page()
    frames: list[str] = []
    first = log_in(page, people, names[0])
    assert open_page(page, people, **({"user": first} if says_user else {})) == [first, {}]
    write(page, "mine alone")
    if logs_out:
        log_out(page, people)
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(str(frame))))
    if not logs_out:
        context.clear_cookies()
    second = log_in(page, people, names[1])
    assert open_page(page, people, **({"user": second} if says_user else {})) == [second, {}]
    page.wait_for_function("session.status === 'connected'")
    assert page.evaluate("session.state.get()") == {}
    assert "mine alone" not in page.evaluate(KEPT)
    assert frames and not [frame for frame in frames if "mine alone" in frame]
    write(page, "of the second")
    assert page.evaluate("session.state.get('/note')") == "of the second"


@pytest.mark.parametrize(("names", "says_user"), [(("ann", "bob"), False), (("bob", "ann"), True)])
def test_s03_a_visitor_in_two_tabs_finds_the_cart_in_both_after_a_login_and_nobody_finds_it_later(
    context: BrowserContext, people: Demo, names: tuple[str, str], says_user: bool
) -> None:
    one, two, third = tabs = [context.new_page() for _ in range(3)]
    frames: list[str] = []
    for tab in tabs:
        tab.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(str(frame))))

    def open_as(tab: Page, user: str | None) -> list[object]:
        return open_page(tab, people, **({"user": user} if says_user else {}))

    for tab in (one, two):
        assert open_as(tab, None) == [None, {}]
    write(one, "a pot")
    two.wait_for_function("session.state.get('/note') === 'a pot'")
    first = log_in(third, people, names[0])
    open_as(one, first)
    for tab in (one, two):
        tab.wait_for_function("(user) => session.info.userId === user && session.status === 'connected'", arg=first)
        assert tab.evaluate("session.state.get('/note')") == "a pot"
    write(two, "a pan")
    one.wait_for_function("session.state.get('/note') === 'a pan'")
    log_out(third, people)
    for tab in (one, two):
        tab.wait_for_function("events.some(([name]) => name === 'ended')")
        assert tab.evaluate("session.state.get()") == {}
    frames.clear()
    second = log_in(third, people, names[1])
    # Also the tabs in which it was filled, and which nobody has closed.
    for tab in (third, one, two):
        assert open_as(tab, second) == [second, {}]
    write(two, "of the second")
    for tab in tabs:
        tab.wait_for_function("session.state.get('/note') === 'of the second'")
        kept = tab.evaluate(KEPT)
        assert "of the second" in kept and "a pan" not in kept and "a pot" not in kept
    assert frames and not [frame for frame in frames if "a pan" in frame or "a pot" in frame]


def test_s02_a_login_over_somebody_elses_in_another_tab_mixes_nothing(context: BrowserContext, people: Demo) -> None:
    tab, other = context.new_page(), context.new_page()
    frames: list[str] = []
    ann = log_in(other, people, "ann")
    assert open_page(tab, people) == [ann, {}]
    tab.wait_for_function("session.status === 'connected'")
    write(tab, "of ann")
    tab.wait_for_function("session.pending === 0")
    tab.on("websocket", lambda socket: socket.on("framereceived", lambda frame: frames.append(str(frame))))
    bob = switch_user(other, "bob")
    assert bob != ann
    tab.wait_for_function("events.some(([name]) => name === 'ended')")
    assert open_page(other, people) == [bob, {}]
    other.wait_for_function("session.status === 'connected'")
    # What this tab still tries reaches nobody, and what the next person writes does not reach this tab.
    assert tab.evaluate("session.state.set('/note', 'late').then(() => 'sent', () => 'refused')") == "refused"
    write(other, "of bob")
    other.wait_for_function("session.pending === 0")
    assert (tab.evaluate("session.state.get()"), other.evaluate("session.state.get()")) == ({}, {"note": "of bob"})
    assert tab.evaluate("session.status") == "failed"
    assert not [frame for frame in frames if "of bob" in frame]
    kept = tab.evaluate(KEPT)
    assert "of ann" not in kept and "late" not in kept
    # Looked at again, the tab that stayed is of the one who is logged in.
    assert open_page(tab, people)[0] == bob
