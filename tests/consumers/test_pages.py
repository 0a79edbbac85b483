"""Pages of a log: bounded in number and in bytes, and one entry at least however large it is."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.actions import logs
from session_mgmt.actions.logs import LogRow
from session_mgmt.actions.state import bodies
from session_mgmt.models import clock
from session_mgmt.protocol.logs import document_key, stream_key, timeline_key
from session_mgmt.writes import verbs

SIZE = 1000
pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(params=["topic", "document", "session"])
def log(request: pytest.FixtureRequest, transactional_db: None, settings: Any) -> LogRow:
    """Fill a log with 20 entries of about 1,000 bytes each; a page has 3,500."""
    from session_mgmt.actions.sessions import lifecycle

    settings.SESSION_MGMT = {"replay_page_bytes": 3500}
    session = lifecycle.create_session().session.pk
    for number in range(20):
        text = f"{number}".ljust(SIZE, "x")
        if request.param == "topic":
            verbs.publish("room:1", text)
        elif request.param == "document":
            verbs.update(session, "main", "ops", [["set", "/a", text]])
        else:
            verbs.send(session, text)
    if request.param == "topic":
        return LogRow(stream_key("room:1"), "topic:room:1")
    if request.param == "document":
        document = bodies.ensure_document("default", session, "main", most=16, at=clock.read("default"))
        return LogRow(document_key(document), "state:main")
    return LogRow(timeline_key(session), "session")


def test_a_page_is_bounded_by_bytes_and_the_pages_hold_every_entry_once(log: LogRow) -> None:
    after, seen = 0, []
    while page := logs.read_page(log, after, 200):
        assert sum(len(entry.body) for entry in page) <= 3500 + 2 * SIZE
        seen += [entry.offset for entry in page]
        after = seen[-1]
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) >= 20


def test_a_page_holds_no_more_entries_than_asked_for(log: LogRow) -> None:
    assert [entry.offset for entry in logs.read_page(log, 1, 2)] == [2, 3]


def test_an_entry_that_is_larger_than_a_page_comes_alone(log: LogRow, settings: Any) -> None:
    settings.SESSION_MGMT = {"replay_page_bytes": 10}
    assert [entry.offset for entry in logs.read_page(log, 4, 200)] == [5]
