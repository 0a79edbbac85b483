"""All that concerns a user is handed out and erased, nothing of others; and no secret reaches what people read."""

from __future__ import annotations

import json
import logging
import re
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth import get_user_model
from django.core.management import CommandError, call_command
from django.test import Client

from session_mgmt.actions import audit
from session_mgmt.actions.agents import Agent
from session_mgmt.actions.privacy import erasure
from session_mgmt.actions.privacy.erasure import erase_user
from session_mgmt.actions.privacy.export import export_user
from session_mgmt.actions.sessions import deletion, lifecycle
from session_mgmt.actions.sessions.fresh_devices import Change, note_change
from session_mgmt.actions.sessions.lifecycle import Device
from session_mgmt.actions.topics import telling
from session_mgmt.actions.topics.presence import Move, move_all
from session_mgmt.actions.webhooks import endpoints
from session_mgmt.actions.webhooks.recording import known_endpoints
from session_mgmt.models import (
    AuditEntry,
    ClientSession,
    Connection,
    HandlerRun,
    Login,
    Member,
    Outbox,
    Publication,
    Receipt,
    SessionEvent,
    StateDocument,
    Stream,
    Subscription,
    Token,
    clock,
)
from session_mgmt.protocol.frames import Connect
from session_mgmt.registry import registry, topic
from session_mgmt.shortcuts import publish, send, state
from tests.api.calls import Caller, caller
from tests.attaching import attach_client
from tests.docs.pages import ROOT
from tests.identity.browser import Browser
from tests.identity.conftest import alice, bob, new_nonce, peers

__all__ = ["alice", "bob", "peers"]

pytestmark = pytest.mark.django_db(transaction=True)
SECRETS = ("sma_", "smr_", "smc_")


@pytest.fixture
def personal() -> Any:
    before = registry.topics[:]

    @topic("inbox:{user}", personal="user")
    def inbox(session: Any, user: str) -> bool:
        return True

    @topic("news:{name}")
    def news(session: Any, name: str) -> bool:
        return True

    yield
    registry.topics[:] = before


def live_through(user: Any, word: str) -> None:
    """Leave traces of every kind, each with a word to look for."""
    made = lifecycle.create_session(
        user=user, metadata={"about": word}, device=Device(label=word, ip="192.0.2.7", user_agent=word)
    )
    state.update(made.session, {"cart": word})
    send(made.session, {"text": word})
    connect = Connect(token=made.token.secret, client_id=None, acked=0, logs={}, agent="t")
    attach_client(connect, frozenset(), server="web-1")
    publish(f"inbox:{user.pk}", {"mail": word})
    publish("news:today", {"by": word})
    audit.add_entry("read_state", user=user, session=made.session.pk, ip="192.0.2.7", note=word)


def count_rows() -> dict[str, int]:
    models = (ClientSession, StateDocument, SessionEvent, Connection, Token, Login, Publication, Stream)
    return {model.__name__: model.objects.count() for model in models}


def test_everything_of_a_user_is_exported_and_nothing_of_others(alice: Any, bob: Any, personal: None) -> None:
    for user in (alice, bob):
        live_through(user, f"of {user.username}")
    records = list(export_user(alice))
    kinds = {record["kind"] for record in records}
    assert kinds == {"session", "document", "event", "connection", "audit", "publication"}
    found = [record["kind"] for record in records if "of alice" in json.dumps(record)]
    assert {"session", "document", "event", "audit", "publication"} <= set(found)
    text = json.dumps(records)
    assert "of bob" not in text
    assert not any(prefix in text for prefix in SECRETS)


def read_table() -> dict[str, tuple[str, str]]:
    """Return the tables of docs/topics/operations.md, each with its fate in an export and in an erasure."""
    page = (ROOT / "docs/topics/operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \|$", page.split("## People's data", 1)[1], re.MULTILINE)
    return {name: (export, erasure) for name, export, erasure in rows}


def leave_further_traces(user: Any, word: str) -> None:
    """Leave traces in all tables that ``live_through`` leaves out."""
    now = clock.read("default")
    made = lifecycle.create_session(user=user)
    mine = caller(made)
    for change, base in ((word, 0), (f"more {word}", 1), (f"most {word}", 1)):
        body = {"ops": [["set", "/note", change]], "base": base, "strategy": "manual"}
        assert mine.patch("sessions/{id}/state/main/", body).status_code == 200
    state.persist(made.session, f"kept {word}")
    connect = Connect(token=made.token.secret, client_id=None, acked=0, logs={}, agent="t")
    attached = attach_client(connect, server="web-1")
    client, claim = attached.client, attached.claim
    Subscription.objects.create(session=made.session, topic="hall:a", created_at=now)
    Receipt.objects.create(client_id=client, seq=1, digest=b"1", outcome=b"{}", at=now)
    assert move_all([Move("hall:a", claim, f"member {word}", json.dumps(word).encode())]) == [None]
    run = {"seq": 1, "event": 1, "type": "message", "data": json.dumps(word).encode(), "at": now, "next_at": now}
    HandlerRun.objects.create(session=made.session, handler="shop.events.note", **run)
    Outbox.objects.create(
        kind="update", target=f"{made.session.pk}/main", payload=json.dumps(word).encode(), refused="x", created_at=now
    )
    inbox = f"inbox:{user.pk}"
    Outbox.objects.create(kind="publish", target=inbox, payload=b"1", refused="x", created_at=now)
    Login.objects.create(user=user, digest=word.encode(), created_at=now, seen_at=now)


def test_every_table_of_the_app_has_its_fate_in_an_export_and_in_an_erasure(
    alice: Any, personal: None, settings: Any, admin_client: Client
) -> None:
    settings.SESSION_MGMT = {"webhooks": True, "webhook_http": True, "webhook_networks": ("127.0.0.0/8",)}
    endpoints.add_endpoint("http://127.0.0.1:9/")
    known_endpoints.forget()
    models = {model.__name__: model for model in apps.get_app_config("session_mgmt").get_models()}
    table = read_table()
    assert list(table) and set(table) == set(models)
    live_through(alice, "of alice")
    leave_further_traces(alice, "of alice")
    assert [name for name, model in models.items() if not model._default_manager.exists()] == []
    page = admin_client.get("/admin/session_mgmt/member/").content.decode()
    assert "member of alice" in page and ">hall:a<" in page
    assert admin_client.get(f"/admin/session_mgmt/member/{Member.objects.get().pk}/change/").status_code == 200
    kinds = {record["kind"] for record in export_user(alice)}
    promised = {kind[1] for export, _ in table.values() if (kind := re.match(r"`(\w+)`", export))}
    assert kinds == promised
    assert all(export.startswith(("`", "no: ", "with ")) for export, _ in table.values())
    erase_user(alice)
    left = {name: model._default_manager.count() for name, model in models.items()}
    # A topic of everybody has its own stream, publications, and members until they are told to leave.
    others = {"Stream": 2, "Publication": 1, "Member": 1, "WebhookEndpoint": 1}
    assert {name: count for name, count in left.items() if count and name != "AuditEntry"} == others
    assert {name for name, (_, erasure) in table.items() if erasure.startswith("no: ")} == {"Member", "WebhookEndpoint"}
    assert "of alice" not in json.dumps(list(AuditEntry.objects.values_list("data", flat=True)))
    known_endpoints.forget()
    # Nobody is there any more, and the next server that tells so deletes the row.
    telling.tell_changes()
    assert not Member.objects.exists()


def test_a_long_log_is_exported_to_its_end(alice: Any, personal: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("session_mgmt.actions.privacy.export.PAGE", 2)
    made = lifecycle.create_session(user=alice)
    for number in range(5):
        send(made.session, {"n": number})
        publish(f"inbox:{alice.pk}", {"n": number})
    kinds = [record["kind"] for record in export_user(alice)]
    # Messages, and the first event of the session.
    assert (kinds.count("event"), kinds.count("publication")) == (6, 5)


@pytest.mark.parametrize("chunk", [1, 200])
def test_everything_of_a_user_is_erased_and_nothing_of_others(
    chunk: int, alice: Any, bob: Any, personal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "CHUNK", chunk)
    live_through(bob, "of bob")
    publish("news:today", {})
    before = count_rows()
    for _ in range(3):
        live_through(alice, "of alice")
    AuditEntry.objects.create(action="permission_denied", data={"user_id": str(alice.pk)}, at=alice.date_joined)
    foreseen = erase_user(alice, dry_run=True)
    told: list[tuple[str, int]] = []
    report = erase_user(alice, lambda step, rows: told.append((step, rows)))
    assert report == foreseen
    assert report.as_dict() == {"sessions": 3, "logins": 0, "publications": 3, "audit": 4}
    assert len([step for step, _ in told if step == "sessions"]) == (3 if chunk == 1 else 1)
    # What alice wrote into a topic of everybody is everybody's.
    assert count_rows() == {**before, "Publication": before["Publication"] + 3}
    assert list(export_user(alice)) == []
    assert not AuditEntry.objects.exclude(action="erase_user").filter(actor=alice).exists()
    assert AuditEntry.objects.filter(data__erased=True, ip=None, actor=None).count() == 4
    assert "of bob" in json.dumps(list(export_user(bob)))
    # Again, as after a kill: nothing is left to do.
    assert set(erase_user(alice).as_dict().values()) == {0}


def test_a_kill_in_between_leaves_whole_sessions_and_the_next_run_ends_it(
    alice: Any, personal: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "CHUNK", 1)
    for _ in range(3):
        live_through(alice, "of alice")

    def stop(step: str, rows: int) -> None:
        if step == "sessions" and ClientSession.objects.count() == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        erase_user(alice, stop)
    assert (ClientSession.objects.count(), StateDocument.objects.count()) == (2, 2)
    assert erase_user(alice).sessions == 2


def test_the_logins_of_a_user_go_too(personal: None) -> None:
    browser = Browser()
    browser.log_in("alice")
    browser.enter()
    user = browser.row().user
    assert "login" in [record["kind"] for record in export_user(user)]
    assert erase_user(user).logins == 1
    assert not Login.objects.exists()


def test_entries_of_others_about_a_user_are_exported_without_their_address(alice: Any, bob: Any) -> None:
    made = lifecycle.create_session(user=alice)
    audit.add_entry(audit.READ_STATE, user=bob, session=made.session.pk, ip="198.51.100.9", name="main")
    audit.add_entry(audit.LIMIT_REACHED, ip="192.0.2.7", user_id=str(alice.pk))
    looked, refused = (record for record in export_user(alice) if record["kind"] == "audit")
    assert looked["data"] == {"name": "main"} and "ip" not in looked
    assert refused["ip"] == "192.0.2.7"
    assert [record.get("ip") for record in export_user(bob)] == ["198.51.100.9"]


def test_an_entry_with_an_address_is_found_after_its_session_was_purged(alice: Any) -> None:
    made = lifecycle.create_session(user=alice, device=Device(label="", ip="192.0.2.7", user_agent=""))
    agents = Agent("Firefox", "Linux"), Agent("Safari", "iOS")
    note_change(Change(made.session.pk, "audit", *agents, "198.51.100.9", ("device",)))
    audit.add_entry(audit.REFRESH_REUSED, session=made.session.pk, ip="198.51.100.9")
    deletion.delete_sessions("default", [made.session.pk])
    assert [record["action"] for record in export_user(alice)] == [audit.DEVICE_CHANGED, audit.REFRESH_REUSED]
    assert erase_user(alice).audit == 2
    assert not AuditEntry.objects.filter(ip__isnull=False).exists()


def test_publications_that_wait_for_a_personal_topic_without_a_stream_go_too(
    alice: Any, bob: Any, personal: None
) -> None:
    now = clock.read("default")
    for topic_ in (f"inbox:{alice.pk}", f"inbox:{bob.pk}", "news:today"):
        Outbox.objects.create(kind="publish", target=topic_, payload=b'{"mail": 1}', refused="x", created_at=now)
    found = [record for record in export_user(alice) if record["kind"] == "outbox"]
    assert found == [{"kind": "outbox", "target": f"inbox:{alice.pk}", "data": {"mail": 1}}]
    erase_user(alice)
    assert set(Outbox.objects.values_list("target", flat=True)) == {f"inbox:{bob.pk}", "news:today"}


def run(*words: Any, **options: Any) -> str:
    out = StringIO()
    call_command(*words, stdout=out, stderr=StringIO(), **options)
    return out.getvalue()


def test_the_commands_tell_people_and_programs(alice: Any, personal: None) -> None:
    live_through(alice, "of alice")
    counted = json.loads(run("export_user", "alice", dry_run=True, json=True))["records"]
    assert f"session        {counted['session']}\n" in run("export_user", "alice", dry_run=True)
    lines = [json.loads(line) for line in run("export_user", "alice").splitlines()]
    # The export itself is an entry of the trail about alice.
    counted["audit"] += 1
    assert {kind: [line["kind"] for line in lines].count(kind) for kind in counted} == counted
    assert len(json.loads(run("export_user", "alice", json=True))["records"]) == len(lines) + 1
    assert json.loads(run("erase_user", "alice", dry_run=True, json=True))["sessions"] == 1
    assert ClientSession.objects.exists()
    assert "sessions       1" in run("erase_user", "alice")
    assert not ClientSession.objects.exists()
    for command in ("export_user", "erase_user"):
        with pytest.raises(CommandError, match="no user 'nobody'"):
            run(command, "nobody")


def test_a_personal_topic_names_one_of_its_parts() -> None:
    with pytest.raises(ValueError, match="which 'owner' is not"):
        topic("inbox:{user}", personal="owner")


@pytest.mark.requirement("ASVS 16.2.5")
def test_no_secret_reaches_a_log_the_trail_or_the_admin(caplog: pytest.LogCaptureFixture) -> None:
    """Go through a life with every kind of token, also refused ones, and look at all that people can read of it."""
    caplog.set_level(logging.DEBUG)
    browser = Browser()
    browser.log_in("alice")
    seen: list[str] = [browser.enter()["access"], str((browser.kept or {})["token"])]
    answers = [browser.refresh() for _ in range(2)]
    seen += [answer.json()[name] for answer in answers for name in ("access", "refresh")]
    forged = ["sma_" + "q" * 43, "smr_" + "A" * 22 + "_" + "q" * 43]
    Caller(Client(), forged[0]).get("sessions/")
    Caller(Client()).post("tokens/refresh/", {"token": forged[1], "nonce": new_nonce()})
    made = lifecycle.create_session(user=browser.row().user)
    mine = caller(made)
    mine.patch("sessions/{id}/", {"label": 5})
    mine.post("sessions/{id}/messages/", {"data": made.token.secret})
    mine.get("sessions/nonsense/")
    connect = Connect(token=made.token.secret, client_id=None, acked=0, logs={}, agent="t")
    attach_client(connect, frozenset(), server="web-1")
    told = [repr(connect), repr(made), *(repr(answer) for answer in answers)]
    sessions = ClientSession.objects.values_list("pk", flat=True)
    pages = ["clientsession/", "auditentry/", *(f"clientsession/{key}/change/" for key in sessions)]
    pages += [f"auditentry/{key}/change/" for key in AuditEntry.objects.values_list("pk", flat=True)]
    for page in pages:
        answer = browser.http.get(f"/admin/session_mgmt/{page}")
        assert answer.status_code == 200
        told.append(answer.content.decode())
    told += [f"{record.getMessage()} {vars(record)} {record.exc_text}" for record in caplog.records]
    told += [json.dumps(data) for data in AuditEntry.objects.values_list("data", flat=True)]
    told += [bytes(data).decode() for data in SessionEvent.objects.values_list("data", flat=True)]
    told.append(run("session_stats", json=True) + run("export_user", "alice"))
    seen += [made.token.secret, *forged]
    everything = "\n".join(told)
    assert len(seen) >= 8 and len(everything) > 10_000
    assert [secret[:12] for secret in seen if secret[8:] in everything] == []
    user = get_user_model().objects.get()
    assert Token.objects.filter(session__user=user).exists()
