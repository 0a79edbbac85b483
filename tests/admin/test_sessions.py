"""The inspector: what an operator sees and may do, and that it costs the same for few sessions and many."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import orjson
import pytest
from django.test import Client

from session_mgmt.actions import audit
from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import attachments, connections, devices, lifecycle
from session_mgmt.actions.sessions.lifecycle import Created, Device
from session_mgmt.admin import sessions
from session_mgmt.backends import doorbell
from session_mgmt.models import AuditEntry, ClientSession, Connection, Outbox, SessionActivity, StateDocument, clock
from session_mgmt.protocol.frames import Connect
from session_mgmt.shortcuts import state
from session_mgmt.writes import verbs
from tests.admin.conftest import queries, staff
from tests.attaching import attach_client
from tests.ends import close, keep_receipt

pytestmark = pytest.mark.usefixtures("on_this_thread")
LIST = "/admin/session_mgmt/clientsession/"
NOBODY = uuid.UUID(int=1)


def page_of(session: Any) -> str:
    return f"{LIST}{session.pk}/change/"


def attach(created: Created) -> attachments.Attachment:
    return attach_client(
        Connect(token=created.token.secret, client_id=None, acked=0, logs={}, agent="t"), server="web-1"
    )


def lively(user: Any, documents: int = 1) -> Created:
    """A session with connections, receipts, documents and messages."""
    created = lifecycle.create_session(
        user=user, device=Device("Phone", "10.0.0.9", "Firefox/1 Android"), metadata={"a": 1}
    )
    for number in range(3):
        attachment = attach(created)
        keep_receipt(attachment, {"verdict": "full", "reason": f"reason-{number}"})
    close(attachment, code=4002, closed_by="server")
    for number in range(documents):
        verbs.update(created.session.pk, "main" if not number else f"d{number}", "data", {"coupon": "WELCOME"})
    verbs.send(created.session.pk, {"hello": "<b>world</b>"})
    return created


# -- seeing


def test_the_list_shows_user_status_device_and_connection(operator: Client, alice: Any) -> None:
    lively(alice)
    ended = lifecycle.create_session()
    lifecycle.terminate_session(SERVER, ended.session.pk)
    html = operator.get(LIST).content.decode()
    for text in ("alice", "Phone", "connected", "terminated", "nobody", "just now"):
        assert text in html


@pytest.mark.parametrize("term", ["alice", "ali", "Phone", "10.0.0.9", "id"])
def test_search_finds_by_user_device_address_and_id(operator: Client, alice: Any, term: str) -> None:
    found, other = lively(alice).session, lifecycle.create_session().session
    html = operator.get(LIST, {"q": str(found.pk) if term == "id" else term}).content.decode()
    assert str(found.pk) in html
    assert str(other.pk) not in html


@pytest.mark.parametrize("state", ["connected", "reconnecting", "disconnected"])
def test_the_filter_by_connection_agrees_with_the_verb(operator: Client, state: str) -> None:
    open_, lost, never = (lifecycle.create_session() for _ in range(3))
    attach(open_)
    close(attach(lost), code=1006, closed_by="client")
    wanted = {"connected": open_, "reconnecting": lost, "disconnected": never}[state].session.pk
    html = operator.get(LIST, {"connection": state}).content.decode()
    assert set(re.findall(r"clientsession/([0-9a-f-]{36})/change", html)) == {str(wanted)}
    assert connections.read_states([wanted]) == {wanted: state}


@pytest.mark.parametrize("query", ["?connection=x", "?state__exact=x", "?q=%00", "?p=999", "?before=x", "?o=99"])
def test_strange_queries_of_the_list_fail_nowhere(operator: Client, query: str) -> None:
    lifecycle.create_session()
    assert operator.get(LIST + query).status_code in (200, 302)


def test_the_page_tells_the_whole_story(operator: Client, alice: Any) -> None:
    session = lively(alice).session
    html = operator.get(page_of(session)).content.decode()
    Connection.objects.update(rtt_ms=40, rtt_average_ms=44, rtt_p95_ms=81.4, rtt_jitter_ms=7)
    html = operator.get(page_of(session)).content.decode()
    assert "p95 81 ms, jitter 7 ms" in html
    for text in ("4002 heartbeat_lost", "reason-2", "session_created", "connection_lost", "10.0.0.9"):
        assert text in html
    assert "&lt;b&gt;world&lt;/b&gt;" in html
    assert "<b>world</b>" not in html


def test_the_page_lists_documents_without_their_content(operator: Client, alice: Any) -> None:
    session = lively(alice, documents=2).session
    html = operator.get(page_of(session)).content.decode()
    for row in StateDocument.objects.all():
        assert f"/admin/session_mgmt/statedocument/{row.pk}/change/" in html
    assert "WELCOME" not in html
    assert not AuditEntry.objects.exists()


def test_the_timeline_goes_back_in_pages(operator: Client) -> None:
    session = lifecycle.create_session().session
    for number in range(105):
        verbs.send(session.pk, {"n": number})
    html = operator.get(page_of(session)).content.decode()
    before = re.search(r"\?before=(\d+)", html)
    assert before is not None
    assert "session_created" in operator.get(f"{page_of(session)}?before={before[1]}").content.decode()


def test_list_and_page_cost_the_same_for_few_and_many(operator: Client, alice: Any) -> None:
    first = lively(alice).session
    operator.get(LIST)
    few = queries(lambda: operator.get(LIST)), queries(lambda: operator.get(page_of(first)))
    many = [lively(alice, documents=3).session for _ in range(10)][-1]
    for number in range(30):
        verbs.send(many.pk, number)
    assert (queries(lambda: operator.get(LIST)), queries(lambda: operator.get(page_of(many)))) == few
    assert max(few) <= 30


def test_no_page_asks_another_host_for_anything(operator: Client, alice: Any) -> None:
    session = lively(alice).session
    for address in (LIST, page_of(session)):
        html = operator.get(address).content.decode()
        assert not re.findall(r'(?:src|href|action)="(?:https?:)?//', html)


def test_the_page_tells_what_was_done_and_leads_to_who_looked(operator: Client, alice: Any) -> None:
    session = lively(alice).session
    operator.get(f"/admin/session_mgmt/statedocument/{StateDocument.objects.get().pk}/change/")
    operator.post(f"{LIST}{session.pk}/act/", {"do": "disconnect", "confirmed": "yes"})
    html = operator.get(page_of(session)).content.decode()
    assert ">disconnect</a></strong>" in html and "read_state" not in html
    trail = f"/admin/session_mgmt/auditentry/?q={session.pk}"
    assert trail in html and "read_state" in operator.get(trail).content.decode()


# -- rights


def test_without_the_view_permission_there_is_nothing_to_see(alice: Any) -> None:
    session = lively(alice).session
    http = staff()
    for address in (LIST, page_of(session)):
        assert http.get(address).status_code == 403


def test_seeing_sessions_is_not_seeing_their_state(alice: Any) -> None:
    session = lively(alice).session
    http = staff("view_clientsession")
    html = http.get(page_of(session)).content.decode()
    assert "statedocument" not in html
    assert "You may not see documents" in html


@pytest.mark.parametrize("do", ["terminate", "disconnect", "reconnect", "nothing", ""])
def test_seeing_sessions_is_not_acting_on_them(alice: Any, do: str) -> None:
    session = lively(alice).session
    http = staff("view_clientsession", "change_clientsession", "delete_clientsession")
    assert http.post(f"{LIST}{session.pk}/act/", {"do": do}).status_code == 403
    html = http.get(page_of(session)).content.decode()
    assert 'value="terminate"' not in html and 'value="disconnect"' not in html
    assert ClientSession.objects.get().state == "active"
    assert not AuditEntry.objects.exists()


def test_nothing_can_be_edited_added_or_deleted_as_a_row(operator: Client, alice: Any) -> None:
    session = lively(alice).session
    assert operator.get(f"{LIST}add/").status_code == 403
    assert operator.post(f"{LIST}{session.pk}/delete/", {"post": "yes"}).status_code == 403
    operator.post(page_of(session), {"state": "terminated"})
    assert ClientSession.objects.get().state == "active"
    assert "delete_selected" not in operator.get(LIST).content.decode()


@pytest.mark.parametrize("address", [f"{LIST}not-a-uuid/change/", f"{LIST}{NOBODY}/change/"])
def test_a_session_that_is_not_there_is_a_404(operator: Client, address: str) -> None:
    assert operator.get(address).status_code == 404


# -- doing


@pytest.mark.requirement("ASVS 7.4.5")
def test_ending_a_session_goes_through_the_verb_and_is_audited(alice: Any) -> None:
    created = lively(alice)
    http = staff("view_clientsession", "terminate_clientsession")
    answer = http.post(f"{LIST}{created.session.pk}/act/", {"do": "terminate", "reason": "stolen phone"}, follow=True)
    assert answer.status_code == 200
    session = ClientSession.objects.get()
    assert (session.state, session.end_reason) == ("terminated", "stolen phone")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.session, entry.data) == ("terminate", session.pk, {"reason": "stolen phone"})
    assert entry.actor is not None and entry.ip == "127.0.0.1"
    again = http.post(f"{LIST}{created.session.pk}/act/", {"do": "terminate"}, follow=True)
    assert "had already ended" in again.content.decode()
    assert AuditEntry.objects.count() == 1


@pytest.mark.parametrize(("do", "code"), [("disconnect", 1000), ("reconnect", 4005)])
def test_disconnecting_reaches_whoever_holds_the_connection(
    operator: Client, alice: Any, do: str, code: int, django_capture_on_commit_callbacks: Any
) -> None:
    session = lively(alice).session
    heard: list[Any] = []
    stop = doorbell().listen(lambda heads, payload: heard.append(payload))
    try:
        with django_capture_on_commit_callbacks(execute=True):
            operator.post(f"{LIST}{session.pk}/act/", {"do": do, "confirmed": "yes"})
    finally:
        stop()
    (order,) = [payload for payload in heard if payload]
    fenced = Connection.objects.filter(closed_at=None).values_list("client_id", "client__generation")
    order["stop"].sort()
    assert order == {"stop": sorted(map(list, fenced)), "code": code, "forget": [session.pk.hex]}
    assert AuditEntry.objects.get().action == do


def test_ending_selected_sessions_asks_first(operator: Client) -> None:
    first, second, third = (lifecycle.create_session().session.pk for _ in range(3))
    form = {"action": "terminate_selected", "_selected_action": [str(first), str(second)]}
    asked = operator.post(LIST, form).content.decode()
    assert str(first) in asked and str(third) not in asked
    assert ClientSession.objects.filter(state="active").count() == 3
    operator.post(LIST, {**form, "confirmed": "yes", "reason": "test"})
    assert ClientSession.objects.get(state="active").pk == third
    assert AuditEntry.objects.filter(action="terminate").count() == 2


def test_a_session_that_is_deleted_once_it_is_chosen_is_not_counted(
    operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, kept = (lifecycle.create_session().session.pk for _ in range(2))
    end_devices = devices.end_devices

    def delete_first(*given: Any) -> Any:
        ClientSession.objects.filter(pk=gone).delete()
        return end_devices(*given)

    monkeypatch.setattr(devices, "end_devices", delete_first)
    form = {"action": "terminate_selected", "_selected_action": [str(gone), str(kept)], "confirmed": "yes"}
    assert "Done for 1 session." in operator.post(LIST, form, follow=True).content.decode()
    assert ClientSession.objects.get(pk=kept).state == "terminated"


@pytest.mark.parametrize("do", ["terminate", "disconnect", "reconnect"])
def test_more_sessions_than_a_request_may_hold_are_refused(
    do: str, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST_CHOSEN", 2)
    first, *_ = (lifecycle.create_session().session.pk for _ in range(3))
    form = {"action": f"{do}_selected", "_selected_action": [str(first)], "select_across": "1", "index": "0"}
    for given in (form, {**form, "confirmed": "yes"}):
        assert "Nothing was done. Choose at most 2" in operator.post(LIST, given, follow=True).content.decode()
    assert not AuditEntry.objects.filter(action=do).exists()


def test_cleaning_up_now_needs_its_own_permission(alice: Any) -> None:
    lifecycle.create_session()
    SessionActivity.objects.update(expires_at=clock.read("default") - timedelta(hours=1))
    assert staff("view_clientsession").post(f"{LIST}clean/").status_code == 403
    http = staff("view_clientsession", "clean_clientsession")
    assert http.get(f"{LIST}clean/").status_code == 403
    assert "expired 1" in http.post(f"{LIST}clean/", follow=True).content.decode()
    assert ClientSession.objects.get().state == "expired"
    assert AuditEntry.objects.get().data["expired"] == 1


@pytest.mark.parametrize("model", ["auditentry", "stream", "outbox"])
def test_the_other_lists_are_there_and_read_only(operator: Client, alice: Any, model: str) -> None:
    lively(alice)
    verbs.publish("room:1", 1)
    Outbox.objects.create(kind="publish", target="x", payload=b"1", refused="busy", created_at=clock.read("default"))
    operator.post(f"{LIST}clean/")
    html = operator.get(f"/admin/session_mgmt/{model}/").content.decode()
    row = re.search(rf"/admin/session_mgmt/{model}/(\d+)/change/", html)
    assert row is not None
    assert operator.get(row[0]).status_code == 200
    assert operator.get(f"/admin/session_mgmt/{model}/add/").status_code == 403


# -- connections in words


def receipt(**more: Any) -> dict[str, Any]:
    ranges = {"replayed": {"state:main": [3, 9], "topic:orders:42": [5, 5]}, "lost": {"topic:news": [1, 40]}}
    return {"verdict": "state_only", "reason": "entries", "duration_ms": 12.4, **ranges, **more}


def test_a_recovery_is_told_in_sentences(operator: Client, alice: Any) -> None:
    created = lively(alice)
    keep_receipt(attach(created), receipt())
    html = operator.get(page_of(created.session)).content.decode()
    told = (
        "The state came back, some messages did not. Replayed: 7 changes of main, up to version 9,"
        " 1 entry of orders:42. Lost for good: 40 entries of news. It took 12 ms."
    )
    assert told in html


@pytest.mark.parametrize(
    "given", [{}, {"replayed": None, "lost": []}, {"lost": {"topic:a": [None, 4]}}, {"replayed": {"state:x": [1]}}]
)
def test_a_receipt_of_another_shape_is_still_shown(operator: Client, alice: Any, given: dict[str, Any]) -> None:
    created = lively(alice)
    keep_receipt(attach(created), {"verdict": "full", **given})
    answer = operator.get(page_of(created.session))
    assert answer.status_code == 200
    assert "Everything came back." in answer.content.decode()


@pytest.mark.parametrize(
    ("closed_by", "told"),
    [("client", "by the client"), ("server", "by the server"), ("lease", "its server is gone")],
)
def test_it_is_said_who_closed_a_connection(operator: Client, alice: Any, closed_by: str, told: str) -> None:
    created = lifecycle.create_session(user=alice)
    close(attach(created), code=4002, closed_by=closed_by)
    assert told in operator.get(page_of(created.session)).content.decode()


# -- questions before something is done


def test_disconnecting_asks_first(operator: Client, alice: Any) -> None:
    session = lively(alice).session
    html = operator.get(page_of(session)).content.decode()
    assert "do not reconnect by themselves" in html
    act = f"{LIST}{session.pk}/act/"
    assert "Disconnect these sessions?" in operator.post(act, {"do": "disconnect"}).content.decode()
    assert not AuditEntry.objects.exists()
    assert operator.post(act, {"do": "disconnect", "confirmed": "yes"}).status_code == 302
    assert list(AuditEntry.objects.values_list("action", flat=True)) == ["disconnect"]


def test_disconnecting_many_asks_first(operator: Client, alice: Any) -> None:
    session = lively(alice).session
    chosen = {"action": "disconnect_selected", "_selected_action": [str(session.pk)]}
    asked = operator.post(LIST, chosen)
    assert "Disconnect these sessions?" in asked.content.decode()
    assert not AuditEntry.objects.exists()
    assert operator.post(LIST, {**chosen, "confirmed": "yes"}).status_code == 302
    assert AuditEntry.objects.get().action == "disconnect"


# -- the audit trail


def test_the_audit_trail_leads_to_sessions_documents_and_back(operator: Client, alice: Any) -> None:
    session = lively(alice).session
    entry = audit.add_entry("restore_state", session=session.pk, document="main", version=2)
    html = operator.get("/admin/session_mgmt/auditentry/").content.decode()
    assert f'href="/admin/session_mgmt/clientsession/{session.pk}/change/"' in html
    address = re.search(r'href="(/admin/session_mgmt/statedocument/[^"]*)"', html)
    assert address is not None
    listed = operator.get(address[1].replace("&amp;", "&"))
    assert listed.status_code == 200
    assert "main" in listed.content.decode()
    page = operator.get(page_of(session)).content.decode()
    assert f'href="/admin/session_mgmt/auditentry/{entry.pk}/change/"' in page
    alone = operator.get(f"/admin/session_mgmt/auditentry/{entry.pk}/change/").content.decode()
    assert f'<a href="{page_of(session)}">{session.pk}</a>' in alone
    assert address[0] in alone


def test_the_trail_tells_its_facts_in_words(operator: Client) -> None:
    audit.add_entry("compare_state", document="main", versions=[1, 3], reason="<b>")
    html = operator.get("/admin/session_mgmt/auditentry/").content.decode()
    # In any order: PostgreSQL keeps that of no object.
    assert 'versions: <span class="sm-wrap">1, 3</span>' in html
    assert 'reason: <span class="sm-wrap">&lt;b&gt;</span>' in html


def test_an_ended_session_is_not_called_disconnected(operator: Client, alice: Any) -> None:
    session = lively(alice).session
    assert "sm-badge sm-connected" in operator.get(LIST).content.decode()
    lifecycle.terminate_session(SERVER, session.pk)
    html = operator.get(LIST).content.decode()
    assert "sm-badge sm-terminated" in html
    assert "sm-badge sm-disconnected" not in html


def test_an_entry_of_a_session_that_is_gone_has_no_link(operator: Client) -> None:
    gone = uuid.uuid4()
    audit.add_entry("terminate", session=gone)
    html = operator.get("/admin/session_mgmt/auditentry/").content.decode()
    assert str(gone)[-12:] in html
    assert f"clientsession/{gone}" not in html


# -- sizes


def test_a_size_is_exact_or_says_that_it_is_a_bound(operator: Client, alice: Any) -> None:
    session = lively(alice).session
    for number in range(20):
        verbs.update(session.pk, "main", "merge", {"text": f"{number:>500}"})
    row = StateDocument.objects.get(session=session)
    exact = len(orjson.dumps(state.get(session)))
    assert row.size > 10 * exact
    for address in (page_of(session), "/admin/session_mgmt/statedocument/"):
        assert "at most 11" in operator.get(address).content.decode()
    page = operator.get(f"/admin/session_mgmt/statedocument/{row.pk}/change/").content.decode()
    assert f"<dd>{exact} B</dd>" in page
