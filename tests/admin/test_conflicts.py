"""Conflicts in the admin: which wait, what they hold, and deciding them by what one saw."""

from __future__ import annotations

import re
from base64 import b64encode
from typing import Any

import pytest
from django.test import Client

from session_mgmt.documents import pointer
from session_mgmt.models import AuditEntry, StateConflict
from session_mgmt.shortcuts import terminate_session
from tests.admin.conftest import SEEING, Paper, deeds, live_parts, queries, seen_on, staff, told

pytestmark = pytest.mark.usefixtures("on_this_thread")
LIST = "/admin/session_mgmt/stateconflict/"
SEEING_CONFLICTS = (*SEEING, "view_stateconflict")


def split(paper: Paper, server: Any = 2, client: Any = 3, key: str = "a") -> StateConflict:
    """An open conflict at a key: 1 before, then what stands and what lost."""
    place = pointer.join_token("", key)
    base = paper.put([["set", place, 1]], kind="ops")
    paper.put([["set", place, server]], kind="ops")
    paper.put([["set", place, client]], kind="ops", base=base, strategy="manual")
    return StateConflict.objects.latest("id")


@pytest.fixture
def paper(alice: Any) -> Paper:
    return Paper(alice)


@pytest.fixture
def conflict(paper: Paper) -> StateConflict:
    return split(paper)


def page_of(conflict: StateConflict) -> str:
    return f"{LIST}{conflict.pk}/change/"


def decide(http: Client, conflict: StateConflict, keep: str, value: str = "", *, before: Any = None) -> Any:
    """Look at a conflict, let something happen, and decide."""
    seen = seen_on(http.get(page_of(conflict)).content.decode())
    if before is not None:
        before()
    form = {"keep": keep, "value": value, "seen": seen}
    return http.post(f"{LIST}{conflict.pk}/resolve/", form, follow=True)


def test_the_list_tells_open_from_resolved_and_shows_no_content(operator: Client, paper: Paper) -> None:
    first, second = split(paper), split(paper, "secret text", "other text", key="tell-tale")
    decide(operator, first, "server")
    html = {name: operator.get(LIST, {"state": name}).content.decode() for name in ("open", "resolved")}
    assert page_of(second) in html["open"] and page_of(first) not in html["open"]
    assert page_of(first) in html["resolved"] and page_of(second) not in html["resolved"]
    both = operator.get(LIST).content.decode()
    assert "alice" in both and "secret text" not in both and "tell-tale" not in both
    assert page_of(second) in operator.get(LIST, {"q": str(paper.session.pk)}).content.decode()
    assert operator.get(LIST, {"state": "x"}).status_code == 200


def test_the_page_shows_all_values_and_what_stands_there_now(operator: Client, paper: Paper) -> None:
    conflict = split(paper, ["server"], ["client"])
    paper.put({"a": {"by": "somebody later"}})
    context = operator.get(page_of(conflict)).context
    assert [value.text for _, _, value in context["values"][1:]] == ['[\n  "server"\n]', '[\n  "client"\n]']
    assert (context["path"], context["values"][0][2].text) == ("/a", "1")
    assert "somebody later" in context["now"].text


def test_a_value_that_was_not_there_is_told_from_null(operator: Client, paper: Paper) -> None:
    base = paper.put({"a": 1, "b": 1})
    paper.put([["del", "/a"], ["set", "/b", None]], kind="ops")
    paper.put([["set", "/a", 3], ["set", "/b", 3]], kind="ops", base=base, strategy="manual")
    found = {}
    for conflict in StateConflict.objects.all():
        context = operator.get(page_of(conflict)).context
        found[context["path"]] = dict((name, value) for name, _, value in context["values"])["server"]
    assert found["/a"] is None and found["/b"].text == "null"


def test_documents_and_sessions_lead_to_their_conflicts(
    operator: Client, conflict: StateConflict, paper: Paper
) -> None:
    assert page_of(conflict) in operator.get(paper.at()).content.decode()
    session = f"/admin/session_mgmt/clientsession/{paper.session.pk}/change/"
    assert "1 open conflict" in operator.get(session).content.decode()


@pytest.mark.parametrize(
    ("keep", "typed", "data", "version"),
    [
        ("server", "", {"a": 2}, None),
        ("client", "", {"a": 3}, 3),
        ("value", ' {"n": [null]} ', {"a": {"n": [None]}}, 3),
        ("value", "null", {"a": None}, 3),
        ("remove", "", {}, 3),
    ],
)
def test_a_decision_settles_it(
    operator: Client, paper: Paper, conflict: StateConflict, keep: str, typed: str, data: Any, version: int | None
) -> None:
    assert told(decide(operator, conflict, keep, typed)) == [
        f"Resolved, as version {version}." if version else "Resolved."
    ]
    assert paper.data == data
    conflict.refresh_from_db()
    assert conflict.resolution == ("value" if keep == "remove" else keep)
    entry = AuditEntry.objects.get(action="resolve_conflict")
    assert (entry.data["keep"], entry.data.get("version")) == (keep, version)
    if version:
        assert "operator" in operator.get(paper.at("versions")).context["lines"][0].who


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("NaN", "invalid_json"),
        ('{"a":1,"a":2}', "invalid_json"),
        ('"\\ud800"', "invalid_json"),
        ('{"__proto__":1}', "forbidden_key"),
        ("9007199254740993", "number_out_of_range"),
        ("[" * 100 + "]" * 100, "too_deep"),
    ],
)
def test_a_value_that_no_document_may_hold_is_refused_and_stays_in_the_form(
    operator: Client, paper: Paper, conflict: StateConflict, typed: str, name: str
) -> None:
    answer = decide(operator, conflict, "value", typed)
    assert answer.status_code in (400, 413, 422)
    html = answer.content.decode()
    assert f"<code>{name}</code>" in html
    assert answer.context["typed"] == typed and answer.context["keep"] == "value"
    assert paper.data == {"a": 2} and "resolve_conflict" not in deeds()


@pytest.mark.parametrize("keep", ["client", "value", "remove"])
def test_who_has_not_seen_what_stands_there_now_overwrites_nothing(
    operator: Client, paper: Paper, conflict: StateConflict, keep: str
) -> None:
    answer = decide(operator, conflict, keep, "7", before=lambda: paper.put({"a": "written meanwhile"}))
    assert "The value has changed since." in answer.content.decode()
    assert "written meanwhile" in answer.context["now"].text
    assert paper.data == {"a": "written meanwhile"}
    form = {"keep": keep, "value": "7", "seen": seen_on(answer.content.decode())}
    operator.post(f"{LIST}{conflict.pk}/resolve/", form)
    conflict.refresh_from_db()
    assert conflict.resolved_at is not None


def test_writes_elsewhere_in_the_document_are_in_nobodys_way(
    operator: Client, paper: Paper, conflict: StateConflict
) -> None:
    decide(operator, conflict, "client", before=lambda: paper.put({"elsewhere": 1}))
    assert paper.data == {"a": 3, "elsewhere": 1}


def test_a_conflict_is_decided_once(operator: Client, paper: Paper, conflict: StateConflict) -> None:
    answer = decide(operator, conflict, "client", before=lambda: decide(operator, conflict, "server"))
    assert answer.status_code == 409 and "resolved before" in answer.content.decode()
    assert paper.data == {"a": 2}
    assert "Decide</h2>" not in operator.get(page_of(conflict)).content.decode()


def test_conflicts_of_ended_sessions_are_read_and_not_decided(
    operator: Client, paper: Paper, conflict: StateConflict
) -> None:
    terminate_session(paper.session)
    assert "session_terminated" in decide(operator, conflict, "client").content.decode()
    assert paper.row.version == 2


@pytest.mark.parametrize("keep", ["", "both"])
def test_only_what_the_form_offers_is_done(operator: Client, conflict: StateConflict, keep: str) -> None:
    assert "invalid_field" in decide(operator, conflict, keep).content.decode()


def test_hostile_values_are_text(operator: Client, paper: Paper) -> None:
    conflict = split(
        paper, "<script>alert(1)</script>", {"<img src=x onerror=alert(1)>": "\u202e"}, key="<b onclick=x>"
    )
    html = operator.get(page_of(conflict)).content.decode()
    assert "alert(1)" in html and "\u202e" not in html and live_parts(html) == []
    typed = decide(operator, conflict, "value", "</textarea><script>alert(1)</script>").content.decode()
    assert live_parts(typed) == []


# -- rights


@pytest.mark.parametrize(
    ("rights", "lists", "shows", "decides"),
    [
        ((), 403, 403, 403),
        (SEEING, 403, 403, 403),
        (("view_clientsession", "view_stateconflict"), 200, 403, 403),
        (("view_clientsession", "view_stateconflict", "resolve_stateconflict"), 200, 403, 403),
        (SEEING_CONFLICTS, 200, 200, 403),
        ((*SEEING_CONFLICTS, "change_stateconflict", "restore_statedocument"), 200, 200, 403),
        ((*SEEING_CONFLICTS, "resolve_stateconflict"), 200, 200, 302),
    ],
)
def test_listing_seeing_and_deciding_are_rights_of_their_own(
    conflict: StateConflict, rights: tuple[str, ...], lists: int, shows: int, decides: int
) -> None:
    http = staff(*rights)
    assert http.get(LIST).status_code == lists
    answer = http.get(page_of(conflict))
    assert answer.status_code == shows
    if shows == 200:
        assert bool(re.search(r'name="keep"', answer.content.decode())) is (decides == 302)
    form = {"keep": "server", "seen": ""}
    assert http.post(f"{LIST}{conflict.pk}/resolve/", form).status_code == decides
    assert deeds() == ["read_conflict"] * (shows == 200) + ["resolve_conflict"] * (decides == 302)


def test_deciding_is_no_link_and_needs_a_token_against_forgery(operator: Client, conflict: StateConflict) -> None:
    address = f"{LIST}{conflict.pk}/resolve/"
    assert operator.get(address, {"keep": "client"}).status_code == 403
    operator.handler.enforce_csrf_checks = True
    assert operator.post(address, {"keep": "client"}).status_code == 403


@pytest.mark.parametrize("name", ["x", "00000000-0000-0000-0000-000000000000"])
def test_a_conflict_that_is_not_there_is_a_404(operator: Client, name: str) -> None:
    assert operator.get(f"{LIST}{name}/change/").status_code == 404


# -- what cannot be read, and what it costs


def test_with_a_lost_key_the_list_stands_and_the_page_says_why(operator: Client, settings: Any) -> None:
    settings.SESSION_MGMT = {"STATE_KEYS": [("old", b64encode(b"o" * 32).decode())], "ENCRYPT_STATE": True}
    conflict = split(Paper(), "telling", "words")
    settings.SESSION_MGMT = {"STATE_KEYS": [("new", b64encode(b"n" * 32).decode())], "ENCRYPT_STATE": True}
    assert page_of(conflict) in operator.get(LIST).content.decode()
    answer = operator.get(page_of(conflict))
    assert answer.status_code == 200 and "state_unreadable" in answer.content.decode()
    answer = operator.post(f"{LIST}{conflict.pk}/resolve/", {"keep": "client", "seen": ""})
    assert answer.status_code < 500 and "state_unreadable" in answer.content.decode()


def test_the_list_and_the_page_cost_the_same_for_few_and_many(operator: Client, paper: Paper) -> None:
    first = split(paper)
    operator.get(LIST)
    few = queries(lambda: operator.get(LIST)), queries(lambda: operator.get(page_of(first)))
    for number in range(8):
        last = split(paper, key=f"k{number}")
    assert (queries(lambda: operator.get(LIST)), queries(lambda: operator.get(page_of(last)))) == few
    assert max(few) <= 14
