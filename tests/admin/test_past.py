"""Versions, two of them side by side, and going back: nobody's work is overwritten unseen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.messages import constants as levels
from django.test import Client
from django.utils import formats, timezone

from session_mgmt.actions.state import compaction
from session_mgmt.models import AuditEntry, SessionEvent, StateRevision
from session_mgmt.shortcuts import state
from tests.actions.conftest import Writer
from tests.admin.conftest import SEEING, Paper, deeds, seen_on, staff, told

pytestmark = pytest.mark.usefixtures("on_this_thread")
SESSION = "/admin/session_mgmt/clientsession/{}/change/"


def text_of(http: Client, address: str, **query: Any) -> str:
    answer = http.get(address, query)
    assert answer.status_code == 200, answer.content
    return " ".join(answer.content.decode().split())


def restored(http: Client, paper: Paper, to: int, *, before: Any = None) -> Any:
    """Look at a version beside now, let something happen, and press the button."""
    seen = seen_on(text_of(http, paper.at("compare"), **{"from": to}))
    if before is not None:
        before()
    return http.post(paper.at("restore"), {"to": to, "seen": seen}, follow=True)


# -- versions


def test_each_version_tells_when_who_what_and_where(operator: Client, paper: Paper) -> None:
    client = paper.session.clients.create(client_id="tab-of-alice", generation=1, created_at=paper.session.created_at)
    Writer(client, paper.row.pk).write(("inc", "/visits", 1))
    state.persist(paper.session, "before the sale")
    restored(operator, paper, 1)
    html = text_of(operator, paper.at("versions"))
    for part in ("tab-of-alice", "#1", "/visits", "before the sale", "restore", "operator", "server", "/cart/coupon"):
        assert part in html
    assert html.index("restore</span>") < html.index("tab-of-alice") < html.index("/cart/coupon")


def test_versions_come_in_pages_newest_first(operator: Client, paper: Paper) -> None:
    for number in range(60):
        paper.put({"n": number})
    first = operator.get(paper.at("versions"))
    assert [line.version for line in first.context["lines"]] == list(range(62, 12, -1))
    second = operator.get(paper.at("versions"), {"before": first.context["next"]})
    assert [line.version for line in second.context["lines"]] == list(range(12, 0, -1))
    assert "This is the whole history" in second.content.decode()


def test_a_version_with_many_paths_shows_some_and_counts_the_rest(operator: Client, paper: Paper) -> None:
    paper.put({f"key-{number}": number for number in range(150)})
    (line, *_) = operator.get(paper.at("versions")).context["lines"]
    assert (len(line.first), len(line.others), line.more) == (4, 96, 50)


# -- side by side


def test_two_versions_are_compared_value_by_value(operator: Client, paper: Paper) -> None:
    paper.put({"cart": {"items": None}, "title": "The train leaves at ten"})
    paper.put({"title": "The train leaves at eleven"})
    html = text_of(operator, paper.at("compare"), **{"from": 1})
    assert "Version 1 beside now (version 4)" in html
    for place in ("/cart/coupon", "/cart/items", "/title"):
        assert place in html
    html = text_of(operator, paper.at("compare"), **{"from": 3, "to": 4})
    assert "The train leaves at <mark>t</mark>en" in html
    assert "The train leaves at <mark>elev</mark>en" in html


def test_without_a_choice_the_last_change_is_shown(operator: Client, paper: Paper) -> None:
    assert "Version 1 beside now (version 2)" in text_of(operator, paper.at("compare"))


def test_versions_that_are_the_same_offer_nothing_to_restore(operator: Client, paper: Paper) -> None:
    html = text_of(operator, paper.at("compare"), **{"from": 2})
    assert "They are the same" in html and "Restore version" not in html


def at_times(paper: Paper, *moments: datetime) -> None:
    for version, at in enumerate(moments, 1):
        StateRevision.objects.filter(document=paper.row, version=version).update(at=at)


@pytest.mark.parametrize(
    ("typed", "version"),
    [("2026-11-23T14:02", 1), ("2026-11-23T14:03:00", 2), ("2026-11-23T14:02:59", 1), ("2026-11-23T10:00", 0)],
)
def test_a_time_leads_to_what_stood_then(operator: Client, paper: Paper, typed: str, version: int) -> None:
    day = datetime(2026, 11, 23, 14, tzinfo=UTC)
    at_times(paper, day + timedelta(minutes=1), day + timedelta(minutes=3, milliseconds=400))
    answer = operator.get(paper.at("compare"), {"moment": typed})
    assert answer.context["pair"].first == version


@pytest.mark.parametrize(("use_tz", "version", "zone"), [(True, 1, "Europe/Paris"), (False, 2, "UTC")])
def test_a_time_is_in_the_zone_that_the_page_names(
    operator: Client, paper: Paper, settings: Any, use_tz: bool, version: int, zone: str
) -> None:
    at_times(paper, *(datetime(2026, 11, 23, hour, tzinfo=UTC) for hour in (11, 12)))
    settings.USE_TZ = use_tz
    with timezone.override("Europe/Paris"):
        answer = operator.get(paper.at("compare"), {"moment": "2026-11-23T12:30"})
    assert answer.context["pair"].first == version
    assert answer.context["zone"] == zone


@pytest.mark.parametrize(
    ("query", "status", "name"),
    [
        ({"moment": "yesterday"}, 400, "invalid_field"),
        ({"moment": "2026-13-45T99:99"}, 400, "invalid_field"),
        ({"from": 99}, 404, "not_found"),
        ({"from": 1, "to": 99}, 404, "not_found"),
    ],
)
def test_what_cannot_be_compared_is_a_page_that_says_why(
    operator: Client, paper: Paper, query: dict[str, Any], status: int, name: str
) -> None:
    answer = operator.get(paper.at("compare"), query)
    assert answer.status_code == status and name in answer.content.decode()


def test_what_the_log_no_longer_holds_is_said_so(operator: Client, paper: Paper, settings: Any) -> None:
    settings.SESSION_MGMT = {"MAX_REVISIONS": 4}
    for number in range(8):
        paper.put({"n": number})
    compaction.compact_document(paper.row.pk)
    for query in ({"from": 1}, {"moment": "2020-01-01T00:00"}):
        answer = operator.get(paper.at("compare"), query)
        assert answer.status_code == 404 and "The log" in answer.content.decode()
    oldest = paper.row.oldest_revision - 1
    assert f"version={oldest}" in text_of(operator, paper.at("versions"))
    assert operator.get(paper.at(), {"version": oldest}).status_code == 200


# -- going back


def test_restoring_is_an_ordinary_new_version(operator: Client, paper: Paper) -> None:
    answer = restored(operator, paper, 1)
    assert told(answer) == ["Version 1 was restored, as version 3."]
    assert paper.data["cart"]["coupon"] == "WELCOME"
    assert state.read_at(paper.session, 2)["cart"]["coupon"] == "GOODBYE"
    entry = AuditEntry.objects.get(action="restore_state")
    assert entry.data == {"document": "main", "to": 1, "version": 3}
    assert entry.actor.get_username() == "operator"


def test_who_has_not_seen_the_newest_version_restores_nothing_and_is_told(operator: Client, paper: Paper) -> None:
    answer = restored(operator, paper, 1, before=lambda: paper.put({"cart": {"coupon": "SOMEBODY ELSE'S"}}))
    (message,) = answer.context["messages"]
    assert message.level == levels.WARNING and "has changed since you opened the page" in str(message)
    assert paper.row.version == 3 and paper.data["cart"]["coupon"] == "SOMEBODY ELSE'S"
    assert "restore_state" not in deeds()
    # The page that follows shows what is there now, and its button works.
    html = answer.content.decode()
    assert "Version 1 beside now (version 3)" in html
    again = operator.post(paper.at("restore"), {"to": 1, "seen": seen_on(html)}, follow=True)
    assert told(again) == ["Version 1 was restored, as version 4."]


def test_of_two_operators_who_saw_the_same_one_restores(operator: Client, paper: Paper) -> None:
    other = staff(*SEEING, "restore_statedocument")
    answer = restored(operator, paper, 1, before=lambda: restored(other, paper, 0))
    assert "has changed since you opened" in told(answer)[0]
    assert paper.data == {} and deeds().count("restore_state") == 1


@pytest.mark.parametrize("form", [{}, {"to": "1"}, {"to": "1", "seen": "x"}, {"to": "x", "seen": '["e",2,"t"]'}])
def test_a_form_that_saw_nothing_restores_nothing(operator: Client, paper: Paper, form: dict[str, str]) -> None:
    assert operator.post(paper.at("restore"), form).status_code == 400
    assert paper.row.version == 2


def test_a_position_of_another_life_restores_nothing(operator: Client, paper: Paper) -> None:
    form = {"to": "1", "seen": f'["{"0" * 16}",2,"{"0" * 16}"]'}
    assert "has changed since" in told(operator.post(paper.at("restore"), form, follow=True))[0]
    assert paper.row.version == 2


@pytest.mark.parametrize("rights", [SEEING, (*SEEING, "maintain_statedocument", "change_statedocument")])
def test_restoring_needs_its_own_right(paper: Paper, rights: tuple[str, ...]) -> None:
    http = staff(*rights)
    assert 'name="seen"' not in text_of(http, paper.at("compare"))
    assert http.post(paper.at("restore"), {"to": 1, "seen": "[]"}).status_code == 403
    assert paper.row.version == 2


def test_restoring_is_no_link(operator: Client, paper: Paper) -> None:
    assert operator.get(paper.at("restore"), {"to": 1}).status_code == 403


@pytest.fixture
def grouped_digits(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A project that writes 12 as 1,2, as others write 1200 as 1,200."""
    monkeypatch.setattr("django.conf.locale.en.formats.NUMBER_GROUPING", 1)
    settings.USE_THOUSAND_SEPARATOR = True
    formats.reset_format_cache()
    yield
    monkeypatch.undo()
    formats.reset_format_cache()


def test_separators_in_numbers_get_into_no_address_and_no_form(
    paper: Paper, operator: Client, grouped_digits: None
) -> None:
    for number in range(60):
        paper.put({"n": number})
    state.persist(paper.session, "kept")
    facts = {"session": paper.session, "type": "session_updated", "data": b"{}", "at": paper.row.last_modified}
    SessionEvent.objects.bulk_create(SessionEvent(seq=seq, **facts) for seq in range(50, 170))
    documents = (paper.at("compare") + query for query in ("?from=11", "?from=11&to=12"))
    pages = [paper.at(), paper.at() + "?version=11", paper.at("versions"), *documents, SESSION.format(paper.session.pk)]
    written = "".join(operator.get(page).content.decode() for page in pages)
    assert "version 6,2" in written
    sent = re.findall(r'(?:href|action|value)="([^"]*)"', written)
    assert [text for text in sent if re.search(r"\d,\d", text)] == []
