"""The OpenAPI document tells what the calls do; every answer in this folder is compared with it (``Caller.call``)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.apps import apps
from jsonschema import Draft202012Validator

from session_mgmt.api import forms, page
from session_mgmt.api.description import build_schema
from session_mgmt.checks import check_schema_page
from session_mgmt.exceptions import list_errors
from tests.api.calls import Caller, refused
from tests.api.conformance import check_answer

DOCUMENT: dict[str, Any] = json.loads(json.dumps(build_schema("/api/")))
CALLS = [(path, method, call) for path, methods in DOCUMENT["paths"].items() for method, call in methods.items()]


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


def test_components_are_schemas_and_every_reference_leads_to_one() -> None:
    components = DOCUMENT["components"]["schemas"]
    for component in components.values():
        Draft202012Validator.check_schema(component)
    names = {reference.removeprefix("#/components/schemas/") for reference in references(DOCUMENT)}
    assert names <= components.keys()
    assert components.keys() - names == set(), "nobody uses these"


def test_every_call_is_told_whole() -> None:
    assert len({call["operationId"] for *_, call in CALLS}) == len(CALLS) == 48
    for path, method, call in CALLS:
        done = [status for status in call["responses"] if status.startswith("2")]
        assert len(done) == 1, (path, method)
        assert done == ["204"] or call["responses"][done[0]]["content"], (path, method)
        assert {"400", "401", "403", "405", "429", "500", "503"} <= call["responses"].keys()
        assert [one["name"] for one in call["parameters"] if one["in"] == "path"] == [
            part[1:-1] for part in path.split("/") if part.startswith("{")
        ]
        assert ("requestBody" in call) is (method in ("post", "put", "patch")), (path, method)
        assert call["security"]


STATE = "sessions/{id}/state/main/"
TAG = "0123456789abcdef"
AGREED: list[tuple[str, str, str, Any, bool]] = [
    ("PATCH", STATE, "ChangeBody", {"merge": {}, "tag": None}, True),
    ("PATCH", STATE, "ChangeBody", {"merge": {}, "tag": "", "base": 0}, True),
    ("PATCH", STATE, "ChangeBody", {"merge": {}, "tag": "", "base": 1}, False),
    ("PATCH", STATE, "ChangeBody", {"merge": {}, "tag": ""}, False),
    ("PATCH", STATE, "ChangeBody", {"merge": {}, "tag": TAG}, False),
    ("PATCH", STATE, "ChangeBody", {"merge": {}, "tag": TAG, "base": None}, False),
    ("PATCH", STATE, "ChangeBody", {"merge": {}, "tag": TAG[1:], "base": 0}, False),
    ("PATCH", STATE, "ChangeBody", {"merge": {"__proto__": 1}}, False),
    ("PATCH", STATE, "ChangeBody", {"merge": {"a\0": 1}}, False),
    ("PATCH", STATE, "ChangeBody", {"data": ["\0"]}, False),
    ("PATCH", STATE, "ChangeBody", {"ops": [["set", "/\0", 1]]}, False),
    ("PATCH", STATE, "ChangeBody", {"ops": [["set", "/\n", 1]]}, True),
    ("PATCH", STATE, "ChangeBody", {"patch": [{"op": "add", "path": "/a", "value": 1, "more": 1}]}, True),
    ("PATCH", STATE, "ChangeBody", {"patch": [{"op": "add", "path": "/a", "value": 1, "\0": 1}]}, False),
    ("POST", STATE + "sync/", "SyncBody", {"pending": [{"merge": {}, "key": "k", "tag": TAG}]}, False),
    ("POST", STATE + "sync/", "SyncBody", {"pending": [{"merge": {}, "key": "k", "tag": "", "base": 0}]}, True),
    ("PATCH", "sessions/{id}/", "SessionChange", {"label": "\0"}, False),
    ("PATCH", "sessions/{id}/", "SessionChange", {"metadata": {"a": {"b": "\0"}}}, False),
    ("PATCH", "sessions/{id}/", "SessionChange", {"config": {"idle_timeout": 3600}}, True),
    ("PATCH", "sessions/{id}/", "SessionChange", {"config": {"idle_timeout": 3600.5}}, False),
    ("PATCH", "sessions/{id}/", "SessionChange", {"config": {"idle_timeout": 1e300}}, False),
    ("PATCH", "sessions/{id}/", "SessionChange", {"config": {"absolute_timeout": 7200}}, True),
    ("PATCH", "sessions/{id}/", "SessionChange", {"config": {"absolute_timeout": 2**53}}, False),
]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("method", "path", "component", "body", "is_valid"), AGREED)
def test_a_body_is_taken_if_and_only_if_the_document_tells_it(
    mine: Caller, settings: Any, method: str, path: str, component: str, body: Any, is_valid: bool
) -> None:
    settings.SESSION_MGMT = {"idle_timeout": timedelta(hours=1), "absolute_timeout": timedelta(hours=2)}
    assert _validator(component, build_schema("/api/")).is_valid(body) is is_valid
    answer = mine.call(method, path, body)
    assert answer.status_code == (200 if is_valid else 400), answer.content


def _validator(component: str, document: dict[str, Any]) -> Draft202012Validator:
    reference = {"$ref": f"#/components/schemas/{component}", "components": document["components"]}
    return Draft202012Validator(json.loads(json.dumps(reference)))


def test_every_example_is_one() -> None:
    examples = {
        name: component["examples"]
        for name, component in DOCUMENT["components"]["schemas"].items()
        if "examples" in component
    }
    assert {"ChangeBody", "PendingChange", "Pointer", "Operation", "PatchOperation"} <= examples.keys()
    for name, told in examples.items():
        for example in told:
            assert _validator(name, DOCUMENT).is_valid(example), name


def test_refusals_are_named_as_they_are() -> None:
    status = {error.name: error.status for error in list_errors()}
    for path, method, call in CALLS:
        for told, response in call["responses"].items():
            if int(told) >= 400:
                names = [name.strip("`") for name in response["description"].split(", ")]
                assert {status[name] for name in names} == {int(told)}, (path, method)


def test_an_answer_that_is_not_told_is_noticed(mine: Caller, db: None) -> None:
    answer = mine.get("sessions/{id}/")
    answer.status_code = 418
    with pytest.raises(AssertionError, match="does not tell"):
        check_answer("GET", f"/api/sessions/{mine.session}/", answer)
    answer.status_code, answer.content = 200, b'{"session_id": 5}'
    with pytest.raises(AssertionError):
        check_answer("GET", f"/api/sessions/{mine.session}/", answer)


# -- the page


@pytest.fixture
def sidecar(monkeypatch: pytest.MonkeyPatch) -> None:
    """Swagger UI's files, as far as anybody asks whether they are there."""
    real = apps.is_installed
    monkeypatch.setattr(apps, "is_installed", lambda name: name == page.SIDECAR or real(name))


@pytest.mark.django_db
def test_the_page_is_off_unless_it_is_wanted(nobody: Caller, sidecar: None) -> None:
    assert refused(nobody.get("schema/page/"), "not_found", 404)


@pytest.mark.django_db
def test_the_page_shows_the_document_and_loads_nothing_from_elsewhere(
    nobody: Caller, sidecar: None, settings: Any
) -> None:
    settings.SESSION_MGMT = {"schema_page": True}
    answer = nobody.get("schema/page/")
    html = answer.content.decode()
    assert (answer.status_code, answer["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert 'data-schema="/api/schema/"' in html
    assert "//" not in html.replace("<!doctype html>", "")
    assert answer["Content-Security-Policy"].startswith("default-src 'self'")
    assert check_schema_page() == []


@pytest.mark.django_db
def test_a_page_without_its_files_is_told_at_start(nobody: Caller, settings: Any) -> None:
    settings.SESSION_MGMT = {"schema_page": True}
    assert refused(nobody.get("schema/page/"), "not_found", 404)
    assert [found.id for found in check_schema_page()] == ["session_mgmt.E013"]


@pytest.mark.parametrize(
    ("form", "body"),
    [
        (forms.CreationForm, "SessionBody"),
        (forms.RefreshForm, "RefreshBody"),
        (forms.EnterForm, "EnterBody"),
        (forms.SessionForm, "SessionChange"),
        (forms.ValidationForm, "ValidationBody"),
        (forms.RecoveryForm, "RecoveryBody"),
        (forms.MessageForm, "MessageBody"),
        (forms.PublicationForm, "PublicationBody"),
        (forms.ChangeForm, "ChangeBody"),
        (forms.ChangeForm, "PendingChange"),
        (forms.SyncForm, "SyncBody"),
        (forms.NothingForm, "NothingBody"),
    ],
)
def test_a_body_is_told_with_the_fields_that_are_read(form: Any, body: str) -> None:
    told = DOCUMENT["components"]["schemas"][body]
    assert {field for one in (told, *told.get("oneOf", ())) for field in one.get("properties", ())} == set(
        form().fields
    )
