"""Data of one person in the admin: hand it out, and erase it after a page that says what goes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import IntegrityError
from django.test import Client

from session_mgmt.actions import audit
from session_mgmt.admin import people
from session_mgmt.models import AuditEntry, ClientSession, StateDocument
from session_mgmt.shortcuts import create_session, state
from tests.admin.conftest import deeds, live_parts, staff, told

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("on_this_thread")]

LIST = "/admin/session_mgmt/clientsession/"
EXPORT, ERASE = "export_clientsession", "erase_clientsession"


def page_of(user: Any, end: str = "") -> str:
    return f"{LIST}person/{user.pk}/{end}"


def furnish(user: Any) -> Any:
    session = create_session(user=user).session
    state.update(session, {"coupon": "WELCOME"})
    return session


def read_file(answer: Any) -> Any:
    return json.loads(b"".join(answer.streaming_content))


def test_the_page_says_what_will_go_and_the_session_leads_to_it(operator: Client, alice: Any) -> None:
    session = furnish(alice)
    furnish(alice)
    assert page_of(alice) in operator.get(f"{LIST}{session.pk}/change/").content.decode()
    answer = operator.get(page_of(alice))
    assert answer.context["counts"].sessions == 2
    html = answer.content.decode()
    assert "You cannot undo this" in html and "alice" in html
    assert live_parts(html) == []
    # To look changes nothing.
    assert (ClientSession.objects.count(), deeds()) == (2, [])


def test_the_file_holds_all_of_one_person_and_nothing_of_another(operator: Client, alice: Any) -> None:
    furnish(alice)
    bob = get_user_model().objects.create_user("bob")
    state.update(create_session(user=bob).session, {"coupon": "OF-BOB"})
    answer = operator.post(page_of(alice, "export/"))
    assert answer["Content-Disposition"] == f'attachment; filename="user-{alice.pk}.json"'
    assert answer["Content-Type"] == "application/json" and "no-store" in answer["Cache-Control"]
    found = read_file(answer)
    assert found["user"] == str(alice.pk)
    kinds = {record["kind"] for record in found["records"]}
    assert {"session", "document", "event"} <= kinds
    assert "WELCOME" in str(found) and "OF-BOB" not in str(found)
    entry = AuditEntry.objects.get(action="export_user")
    assert (entry.actor.get_username(), entry.data["user_id"], entry.ip) == ("operator", str(alice.pk), "127.0.0.1")


def test_a_person_without_anything_is_a_file_too(operator: Client, alice: Any) -> None:
    found = read_file(operator.post(page_of(alice, "export/")))
    assert found["user"] == str(alice.pk)
    # The export itself is an entry of the trail about this person.
    assert [(record["kind"], record["action"]) for record in found["records"]] == [("audit", audit.EXPORT_USER)]


def test_erasing_takes_all_of_one_person_once_the_name_was_typed(operator: Client, alice: Any) -> None:
    furnish(alice)
    bobs = furnish(get_user_model().objects.create_user("bob"))
    for name in ("", "bob", "Alice"):
        answer = operator.post(page_of(alice, "erase/"), {"name": name}, follow=True)
        assert told(answer) == ["Nothing was erased, because the name is different."]
    assert (ClientSession.objects.count(), deeds()) == (2, [])
    answer = operator.post(page_of(alice, "erase/"), {"name": " alice "}, follow=True)
    assert told(answer) == ["Erased: sessions 1, logins 0, publications 0, audit 0."]
    assert [row.pk for row in ClientSession.objects.all()] == [bobs.pk]
    assert StateDocument.objects.count() == 1
    entry = AuditEntry.objects.get(action="erase_user")
    assert (entry.actor.get_username(), entry.data["rows"]["sessions"]) == ("operator", 1)
    assert str(alice.pk) not in str(entry.data) and "alice" not in str(entry.data)


def test_who_erases_the_own_data_is_not_named_either(operator: Client) -> None:
    me = get_user_model().objects.get(username="operator")
    furnish(me)
    operator.post(page_of(me, "erase/"), {"name": "operator"})
    entry = AuditEntry.objects.get(action="erase_user")
    assert (entry.actor, entry.ip) == (None, None)


def test_a_session_that_the_project_protects_is_told(
    operator: Client, alice: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, dry_run: bool = False, **__: Any) -> Any:
        if not dry_run:
            raise IntegrityError
        return people_counts

    people_counts = people.erase_user(alice, dry_run=True)
    monkeypatch.setattr(people, "erase_user", refuse)
    (message,) = told(operator.post(page_of(alice, "erase/"), {"name": "alice"}, follow=True))
    assert "protect a session" in message


@pytest.mark.parametrize(
    ("rights", "page", "export", "erase"),
    [
        ((), 403, 403, 403),
        (("view_clientsession", "terminate_clientsession", "clean_clientsession"), 403, 403, 403),
        ((EXPORT,), 200, 200, 403),
        (("view_clientsession", ERASE), 200, 403, 302),
    ],
)
def test_each_has_a_permission_of_its_own(
    alice: Any, rights: tuple[str, ...], page: int, export: int, erase: int
) -> None:
    session = furnish(alice)
    clerk = staff(*rights)
    assert clerk.get(page_of(alice)).status_code == page
    assert clerk.post(page_of(alice, "export/")).status_code == export
    assert clerk.post(page_of(alice, "erase/"), {"name": "alice"}).status_code == erase
    assert ClientSession.objects.filter(pk=session.pk).exists() is (erase == 403)


def test_a_tenants_people_do_not_reach_what_may_be_anothers(alice: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"tenant_of": lambda request: "acme"}
    furnish(alice)
    clerk = staff("view_clientsession", EXPORT, ERASE)
    for end in ("", "export/", "erase/"):
        method = clerk.post if end else clerk.get
        assert method(page_of(alice, end)).status_code == 403
    assert ClientSession.objects.count() == 1


def test_nothing_happens_by_a_link_or_without_a_form_of_ours(alice: Any) -> None:
    furnish(alice)
    http = Client(enforce_csrf_checks=True)
    http.force_login(get_user_model().objects.create_superuser("root"))
    for end in ("export/", "erase/"):
        assert http.get(page_of(alice, end), {"name": "alice"}).status_code == 403
        assert http.post(page_of(alice, end), {"name": "alice"}).status_code == 403
    assert (ClientSession.objects.count(), deeds()) == (1, [])


@pytest.mark.parametrize("key", ["999", "no-number", "9" * 40, "1/2"])
def test_nobody_of_a_key_is_not_found(operator: Client, key: str) -> None:
    for end in ("", "export/", "erase/"):
        method = operator.post if end else operator.get
        assert method(f"{LIST}person/{key}/{end}").status_code == 404
