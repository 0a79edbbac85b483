"""A person's devices in the pages of two browsers: one is logged out from the other, and hears it."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, BrowserContext, Error

from tests.browser.people import KEPT, log_in, open_page, write
from tests.browser.waiting import open_context
from tests.browser.watching import Demo

pytestmark = pytest.mark.browser

LIST = (
    "session.sessions.list().then((all) => all.map(({ sessionId, isCurrent, label }) => [sessionId, isCurrent, label]))"
)


def test_s18_a_browser_that_is_ended_from_another_one_hears_it_and_keeps_nothing(
    browser: Browser, context: BrowserContext, people: Demo
) -> None:
    elsewhere = open_context(browser)
    here, there, beside = context.new_page(), elsewhere.new_page(), elsewhere.new_page()
    ann = log_in(here, people, "ann")
    log_in(there, people, "ann")
    for page, label in ((here, "desk"), (there, "phone"), (beside, "phone")):
        assert open_page(page, people)[0] == ann
        page.evaluate("(label) => session.sessions.updateSession({ label })", label)
    ids = [page.evaluate("session.id") for page in (here, there)]
    # What earlier people of this server left is theirs too.
    mine = [device for device in here.evaluate(LIST) if device[0] in ids]
    assert mine == [[ids[0], True, "desk"], [ids[1], False, "phone"]]
    write(there, "on the phone")
    beside.wait_for_function("session.state.get('/note') === 'on the phone'")
    here.evaluate("(id) => session.sessions.end(id)", ids[1])
    for page in (there, beside):
        page.wait_for_function("events.some(([name]) => name === 'ended')")
        assert page.evaluate("[session.status, session.state.get()]") == ["failed", {}]
        kept = page.evaluate(KEPT)
        assert "on the phone" not in kept and "sm" + "a_" not in kept and ids[1] not in kept
    assert [device[0] for device in here.evaluate(LIST) if device[0] in ids] == ids[:1]
    assert here.evaluate("session.status") == "connected"
    # Its login has ended with it, though Django's cookie is still there.
    with pytest.raises(Error, match="login_ended"):
        open_page(there, people)
    elsewhere.close()
