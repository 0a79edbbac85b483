"""Pages of many logs that are read together are the ones that are read one by one, by as many queries as kinds."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from session_mgmt.actions import logs
from session_mgmt.actions.logs import LogRow
from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.state import bodies
from session_mgmt.models import StateRevision, clock
from session_mgmt.protocol.logs import document_key, stream_key, timeline_key
from session_mgmt.writes import verbs
from tests.actions.conftest import NEW

pytestmark = pytest.mark.django_db(transaction=True)
LIMIT = 6


def fill(count: int, size: int = 10) -> list[LogRow]:
    """Make so many sessions, each with a document and a log of its own, and a topic; each log is one longer."""
    rows = []
    for number in range(count):
        session = lifecycle.create_session().session.pk
        for times in range(number + 1):
            verbs.update(session, "main", "ops", [["set", "/a", f"{times}".ljust(size, "x")]])
            verbs.send(session, "x" * size)
            verbs.publish(f"room:{number}", "x" * size)
        document = bodies.ensure_document("default", session, "main", most=16, at=clock.read("default"))
        rows.append(LogRow(document_key(document), "state:main"))
        rows.append(LogRow(timeline_key(session), "session"))
        rows.append(LogRow(stream_key(f"room:{number}"), f"topic:room:{number}"))
    return rows


def read_singly(asked: list[tuple[LogRow, int]]) -> list[Any]:
    return [logs.read_page(row, after, LIMIT) for row, after in asked]


@pytest.mark.parametrize("after", [0, 1, 3, 100])
def test_they_are_the_same(after: int) -> None:
    asked = [(row, after) for row in fill(9)]
    assert logs.read_pages(asked, LIMIT) == read_singly(asked)


def test_each_is_bounded_by_bytes_and_none_is_empty_because_of_others(settings: Any) -> None:
    asked = [(row, 0) for row in fill(9, size=500)]
    for most in (1, 600, 1500):
        settings.SESSION_MGMT = {"replay_page_bytes": most}
        pages = logs.read_pages(asked, LIMIT)
        assert pages == read_singly(asked)
        assert all(pages)


def test_documents_and_sessions_cost_as_many_queries_for_nine_as_for_three() -> None:
    counts = []
    rows = [row for row in fill(9) if not row.key.startswith("s:")]
    for some in (rows[:6], rows[:16]):
        with CaptureQueriesContext(connection) as asked:
            logs.read_pages([(row, 0) for row in some], LIMIT)
        # SQLite prepares statements for one place and for eight.
        counts.append(len(asked))
    assert counts[1] == 2 and counts[0] <= 6


def test_sealed_documents_are_read_one_by_one(settings: Any) -> None:
    rows = fill(3)
    settings.SESSION_MGMT = {"state_keys": [NEW], "encrypt_state": True}
    asked = [(row, 0) for row in [*rows, *fill(3)]]
    assert logs.read_pages(asked, LIMIT) == read_singly(asked)


def test_a_document_whose_key_is_gone_fails_alone(settings: Any) -> None:
    settings.SESSION_MGMT = {"state_keys": [NEW], "encrypt_state": True}
    sealed = fill(1)[0]
    settings.SESSION_MGMT = {}
    plain = [row for row in fill(3) if row.key.startswith("d:")]
    found = logs.read_pages([(row, 0) for row in [plain[0], sealed, *plain[1:]]], LIMIT)
    assert [type(page).__name__ for page in found] == ["list", "StateUnreadable", "list", "list"]


def test_a_hole_in_one_log_is_seen_in_its_page_alone() -> None:
    rows = [row for row in fill(3) if row.key.startswith("d:")]
    StateRevision.objects.filter(document=rows[2].number, version__lt=3).delete()
    found = logs.read_pages([(row, 0) for row in rows], LIMIT)
    assert [[entry.offset for entry in page] for page in found if isinstance(page, list)] == [[1], [1, 2], [3]]
