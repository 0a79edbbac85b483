"""Hostile bodies, headers and addresses: each its documented code in JSON, no 500, and nothing changed."""

from __future__ import annotations

import gzip
import json
import logging
from time import monotonic
from typing import Any

import pytest
from django.core.handlers.asgi import ASGIRequest
from django.db import OperationalError
from django.test import Client
from rest_framework.request import Request

from session_mgmt.actions.sessions import lifecycle
from session_mgmt.actions.state import lookup
from session_mgmt.api import errors, reading
from session_mgmt.exceptions import DocumentTooLarge
from session_mgmt.models import ClientSession, SessionEvent, StateDocument
from session_mgmt.models.outages import TELL_EVERY, OutageLog
from tests.api.calls import JSON, Caller, refused

pytestmark = pytest.mark.django_db
MAIN = "sessions/{id}/state/main/"

# Bodies that are no JSON whatever the call; the values in them are the table of tests/bad_input.
BODIES: dict[str, bytes] = {
    "empty": b"",
    "white space": b"  \n",
    "byte order mark": b'\xef\xbb\xbf{"merge":{}}',
    "bad UTF-8": b'{"merge":{"a":"\xff"}}',
    "overlong UTF-8": b'{"merge":{"a":"\xc0\x80"}}',
    "surrogate in UTF-8": b'{"merge":{"a":"\xed\xa0\x80"}}',
    "UTF-16": '{"merge":{}}'.encode("utf-16"),
    "UTF-16 without a mark": '{"merge":{}}'.encode("utf-16-le"),
    "UTF-32": '{"merge":{}}'.encode("utf-32"),
    "trailing garbage": b'{"merge":{}} x',
    "two values": b"{}{}",
    "cut off": b'{"merge":{',
    "a form": b"a=1&b=2",
    "markup": b"<merge/>",
}


@pytest.fixture(autouse=True)
def no_traceback(caplog: pytest.LogCaptureFixture) -> Any:
    yield
    assert [record.getMessage() for record in caplog.get_records("call") if record.exc_info] == []


@pytest.fixture
def held(mine: Caller) -> Caller:
    """A client with a document that must stay as it is."""
    mine.put(MAIN, {"kept": True})
    return mine


@pytest.mark.parametrize("number", ["9007199254740992", "1e400", '[[{"a": -1E999}]]', "9" * 5000], ids=len)
def test_a_number_that_is_out_of_range_is_told_by_its_field(held: Caller, number: str) -> None:
    body = f'{{"key": 1e300, "merge": {{"b": {number}}}}}'.encode()
    answer = held.patch(MAIN, raw=body)
    assert refused(answer, "number_out_of_range", 400)
    assert answer.json()["field"] == "merge"
    nameless = held.patch(MAIN, raw=b'{"\\ud800": 1e400}')
    assert refused(nameless, "number_out_of_range", 400)
    assert "field" not in nameless.json()


def untouched(mine: Caller) -> bool:
    document = StateDocument.objects.get(session=mine.session)
    return document.version == 1 and ClientSession.objects.get(pk=mine.session).metadata == {"tab": 1}


CALLS = [("PATCH", MAIN), ("PUT", MAIN), ("PATCH", "sessions/{id}/")]
CALLS += [("POST", MAIN + end) for end in ("sync/", "compress/", "persist/", "restore/")]
CALLS += [("POST", f"sessions/{{id}}/{end}") for end in ("validate/", "recover/")]


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_every_call_has_the_same_parser(held: Caller, method: str, path: str) -> None:
    for name, raw in BODIES.items():
        assert refused(held.call(method, path, raw=raw), "invalid_json", 400), name
    assert untouched(held)


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("Content_Type", "application/json; charset=utf-16"),
        ("Content_Type", "application/json; charset=utf-7"),
        ("Content_Type", "application/json; charset=made-up"),
        ("Content_Type", "text/plain"),
        ("Content_Type", "application/x-www-form-urlencoded"),
        ("Content_Type", "multipart/form-data; boundary=x"),
        ("Content_Type", "application/json-patch+json"),
        pytest.param("Content_Type", 'application/json; a="' + ";" * 200 + '"', id="long type"),
        ("Content_Encoding", "gzip"),
        ("Content_Encoding", "br"),
    ],
)
@pytest.mark.requirement("ASVS 4.1.1")
def test_another_media_type_or_encoding_is_refused(held: Caller, header: str, value: str) -> None:
    raw = gzip.compress(b"{}") if value == "gzip" else b'{"merge":{"a":1}}'
    assert refused(held.patch(MAIN, raw=raw, **{header: value}), "unsupported_media_type", 415)
    assert untouched(held)


@pytest.mark.requirement("ASVS 3.5.1")
def test_a_form_from_another_site_is_refused_before_anything_is_read(page: Caller) -> None:
    answer = page.call("POST", "sessions/", raw=b"a=1", Content_Type="application/x-www-form-urlencoded")
    assert refused(answer, "permission_denied", 403)


def test_three_megabytes_are_json_answered_in_json(held: Caller) -> None:
    raw = json.dumps({"data": "x" * 3_000_000}).encode()
    assert refused(held.post("sessions/{id}/validate/", raw=raw), "frame_too_large", 413)


@pytest.mark.parametrize("length", ["99999999999", "9" * 5000], ids=["long", "very long"])
def test_a_declared_length_over_the_limit_is_refused_unread(held: Caller, length: str) -> None:
    answer = held.http.generic(
        "PUT", f"/api/sessions/{held.session}/state/main/", b"{}", content_type=JSON,
        headers={"Authorization": f"Bearer {held.token}"}, CONTENT_LENGTH=length,
    )  # fmt: skip
    assert refused(answer, "document_too_large", 413)
    assert untouched(held)


class Endless:
    """A body that never ends."""

    def __init__(self) -> None:
        self.given = 0

    def read(self, size: int) -> bytes:
        self.given += size
        return b"[" * size


def test_a_body_without_end_is_read_up_to_the_limit() -> None:
    body = Endless()
    scope = {"type": "http", "method": "PUT", "path": "/", "query_string": b"", "headers": []}
    request = Request(ASGIRequest(scope, body))
    with pytest.raises(DocumentTooLarge):
        reading.read_body(request, most=1_000_000, too_large=DocumentTooLarge)
    assert body.given < 1_100_000


@pytest.mark.parametrize("body", [[], 1, "text", None, True, [{}]])
@pytest.mark.parametrize("path", ["sessions/{id}/", MAIN])
def test_a_body_that_is_no_object_is_refused(held: Caller, path: str, body: Any) -> None:
    assert refused(held.call("PATCH", path, raw=json.dumps(body).encode()), "invalid_field", 400)
    assert untouched(held)


@pytest.mark.parametrize(
    "body",
    [
        {"metadata": []},
        {"metadata": None},
        {"metadata": "x"},
        {"metadata": {"a": "x" * 20_000}},
        {"config": 5},
        {"config": {"idle_timeout": 59}},
        {"config": {"idle_timeout": "60"}},
        {"config": {"idle_timeout": True}},
        {"config": {"absolute_timeout": 2**53 - 1}},
        {"label": 5},
        {"label": "x" * 201},
        *({field: "x"} for field in ("id", "user", "user_id", "state", "scopes", "ip", "auth_version", "ended_at")),
    ],
)
@pytest.mark.requirement("ASVS 15.3.3")
def test_a_session_takes_no_other_fields_and_types(held: Caller, body: dict[str, Any]) -> None:
    assert refused(held.patch("sessions/{id}/", body), "invalid_field", 400)
    assert untouched(held)
    assert SessionEvent.objects.filter(type="session_updated").count() == 0


@pytest.mark.parametrize("field", ["state", "subscriptions", "maximum_age"])
@pytest.mark.parametrize("value", ["yes", None, -1, [], 1.5])
@pytest.mark.requirement("ASVS 2.2.1")
def test_options_of_recover_have_exact_types(held: Caller, field: str, value: Any) -> None:
    assert refused(held.post("sessions/{id}/recover/", {field: value}), "invalid_field", 400)


GARBAGE = ["", "x", "sma_", "sma_" + "A" * 43, "sma_\x7f", "smr_" + "A" * 43, "sma_" + "é" * 20, "A" * 5000]


@pytest.mark.parametrize("token", GARBAGE)
@pytest.mark.requirement("RFC 6750 2.3")
def test_a_garbage_token_is_invalid_and_says_nothing_else(held: Caller, token: str) -> None:
    answer = held.http.get(f"/api/sessions/{held.session}/", HTTP_AUTHORIZATION=f"Bearer {token}")
    assert refused(answer, "invalid_token", 401)
    assert answer["WWW-Authenticate"] == 'Bearer error="invalid_token"'


@pytest.mark.requirement("ASVS 14.2.1")
def test_a_token_in_the_address_is_no_token(held: Caller) -> None:
    answer = Client().get(f"/api/sessions/{held.session}/?token={held.token}&access_token={held.token}")
    assert refused(answer, "auth_required", 401)
    assert answer["WWW-Authenticate"] == "Bearer"


@pytest.mark.requirement("ASVS 7.2.1")
def test_an_expired_token_of_a_living_session_says_so(held: Caller) -> None:
    session = ClientSession.objects.get(pk=held.session)
    session.tokens.update(expires_at=session.created_at)
    assert refused(held.get("sessions/{id}/"), "token_expired", 401)


def test_a_revoked_token_is_invalid(held: Caller) -> None:
    session = ClientSession.objects.get(pk=held.session)
    session.tokens.update(revoked_at=session.created_at)
    assert refused(held.get("sessions/{id}/"), "invalid_token", 401)


@pytest.mark.parametrize(
    "path",
    [
        "sessions/not-a-uuid/",
        "sessions/%00/",
        "sessions/{id}/nothing/",
        "sessions/{id}",
        "sessions/a/b/c/d/",
        "sessions/%F0%9F%98%80/",
    ],
)
def test_an_address_that_leads_nowhere_answers_in_json(held: Caller, path: str) -> None:
    answer = held.get(path)
    assert answer.status_code == 404
    assert refused(answer, answer.json()["name"], 404)


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "sessions/"), ("POST", "sessions/{id}/"), ("GET", MAIN + "sync/"), ("TRACE", MAIN)]
)
@pytest.mark.requirement("ASVS 4.1.1")
def test_a_method_that_is_not_there_is_named(held: Caller, method: str, path: str) -> None:
    answer = held.call(method, path)
    assert refused(answer, "method_not_allowed", 405)
    assert answer["Allow"]


def test_there_is_no_format_but_json(held: Caller) -> None:
    answer = held.get(MAIN, Accept="text/html")
    assert (answer.status_code, answer["Content-Type"]) == (200, JSON)


@pytest.mark.parametrize("query", ["?format=zzz", "?format=api", "?format=json"])
def test_a_format_of_the_address_is_an_unknown_parameter(held: Caller, query: str) -> None:
    assert refused(held.get(MAIN + query, Accept="text/html"), "invalid_field", 400)


@pytest.mark.parametrize("path", ["sessions/", "sessions/{id}/", "sessions/x/", MAIN, "health/", "sessions/{id}/nope/"])
@pytest.mark.requirement("ASVS 14.3.2")
def test_no_answer_is_kept_by_a_cache(held: Caller, path: str) -> None:
    for answer in (held.get(path), Caller(Client(), None, held.session).get(path)):
        assert answer["Cache-Control"] == "no-store"
        assert {"Authorization", "Cookie"} <= {part.strip() for part in answer["Vary"].split(",")}
        assert answer["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("topic", "status"), [("room:1", 201), ("room:0", 403), ("room:abc", 403), ("news:x", 403), ("none", 403)]
)
def test_publishing_asks_the_application(held: Caller, rooms: None, topic: str, status: int) -> None:
    answer = held.post(f"topics/{topic}/publications/", {"data": 1})
    assert answer.status_code == status
    assert status == 201 or refused(answer, "publish_denied", 403)


@pytest.mark.parametrize(
    ("body", "name"),
    [
        ({}, "invalid_field"),
        ({"data": 1, "key": 1}, "invalid_field"),
        ({"data": 1, "ephemeral": "yes"}, "invalid_field"),
        ({"data": 1, "topic": "room:2"}, "invalid_field"),
    ],
)
def test_a_publication_with_wrong_fields_is_refused(held: Caller, rooms: None, body: Any, name: str) -> None:
    assert refused(held.post("topics/room:1/publications/", body), name, 400)


def test_a_publication_over_its_limit_has_a_code_of_its_own(held: Caller, rooms: None) -> None:
    """Not that of a long text: many short ones are too large as well."""
    for data in ("x" * 70_000, ["short"] * 20_000):
        answer = held.post("topics/room:1/publications/", {"data": data})
        assert refused(answer, "publication_too_large", 413)
        assert answer.json()["limit"] == 65_536


def test_strange_headers_are_neither_stored_nor_trusted(page: Caller) -> None:
    page.http.cookies["csrftoken"] = "a" * 32
    told = page.post(
        "sessions/",
        User_Agent="Phone\x1b[31m" + "x" * 1000,
        X_Forwarded_For="6.6.6.6",
        X_CSRFToken="a" * 32,
    ).json()
    session = ClientSession.objects.get(pk=told["session"]["session_id"])
    assert session.ip == "127.0.0.1"
    assert len(session.user_agent) <= 400
    assert session.user_agent.isprintable()


@pytest.mark.requirement("ASVS 16.5.1")
def test_a_database_that_is_away_is_a_temporary_error(
    held: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("server closed the connection; password=hunter2")

    monkeypatch.setattr(lookup, "list_documents", away)
    answer = held.get("sessions/{id}/state/")
    assert refused(answer, "unavailable", 503)
    assert answer["Retry-After"] == "1"
    assert b"hunter2" not in answer.content
    caplog.clear()


def test_calls_that_fail_alike_are_told_in_one_line(
    held: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: Any) -> None:
        raise OperationalError("terminating connection due to administrator command")

    monkeypatch.setattr(lookup, "list_documents", away)
    monkeypatch.setattr(errors, "outages", OutageLog(errors.logger, "The database did not answer"))
    caplog.clear()
    for _ in range(20):
        assert refused(held.get("sessions/{id}/state/"), "unavailable", 503)
    lines = [record for record in caplog.records if record.name == errors.logger.name]
    assert len(lines) == 1 and lines[0].exc_info is None
    errors.outages.tell(OperationalError("later"), monotonic() + TELL_EVERY)
    assert caplog.messages[-1] == "The database did not answer (20 times since the last line): later"
    caplog.clear()


@pytest.mark.requirement("ASVS 16.5.1")
def test_a_fault_is_a_500_without_detail_and_stands_in_the_log(
    held: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a secret detail")

    monkeypatch.setattr(lifecycle, "list_active", broken)
    answer = held.get("sessions/")
    assert refused(answer, "internal_error", 500)
    assert b"secret" not in answer.content
    assert [record.levelno for record in caplog.records if record.exc_info] == [logging.ERROR]
    caplog.clear()
