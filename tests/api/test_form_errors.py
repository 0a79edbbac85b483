"""A refused body says which field is wrong and what it must be, in the words of frames and without the value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from session_mgmt.api import conflicts, history, sessions
from session_mgmt.api.forms import (
    Anything,
    Form,
    MessageForm,
    NarrowForm,
    NothingForm,
    RefreshForm,
    SessionForm,
    ValidationForm,
)
from session_mgmt.exceptions import InvalidField

WRONG = "not-this-secret"


def list_forms(base: type[Form] = Form) -> Iterator[type[Form]]:
    for form in base.__subclasses__():
        yield form
        yield from list_forms(form)


def list_fields() -> list[tuple[type[Form], str]]:
    assert conflicts and history and sessions, "their forms are declared"
    return [
        (form, name) for form in list_forms() for name, field in form().fields.items() if type(field) is not Anything
    ]


def refuse(form: type[Form], body: dict[str, Any]) -> InvalidField:
    with pytest.raises(InvalidField) as refused:
        form(data=body).read_fields()
    return refused.value


@pytest.mark.parametrize(("form", "name"), list_fields(), ids=lambda given: getattr(given, "__name__", given))
def test_a_field_of_a_wrong_type_is_explained(form: type[Form], name: str) -> None:
    required = {field: "x" for field, one in form().fields.items() if one.required}
    error = refuse(form, required | {name: [{"a": WRONG}]})
    assert error.facts["field"] == name or error.facts["field"] in required
    assert WRONG not in str(error) and "wrong type" not in str(error) and error.facts["field"] in str(error)


@pytest.mark.parametrize(
    ("form", "body", "told"),
    [
        (SessionForm, {"label": "x" * 201}, "label is text of at most 200 characters."),
        (SessionForm, {"metadata": []}, "metadata is a JSON object."),
        (SessionForm, {"lable": "x"}, "There is no field 'lable'; there are metadata, config, label."),
        (NothingForm, {"x": 1}, "There is no field 'x'; there are none."),
        (MessageForm, {}, "data is missing: it is any JSON value, or null."),
        (MessageForm, {"data": 1, "key": ""}, "key is text of 1 to 100 characters, or null."),
        (NarrowForm, {"scopes": ["state:read"], "expires_in": 0}, "expires_in is an integer from 1 to 2^53-1."),
        (RefreshForm, {"token": "x"}, "nonce is missing: it is text of 1 to 43 characters."),
        (ValidationForm, {"permission": 1}, "permission is text of at most 200 characters."),
    ],
)
def test_the_sentence_names_the_rule(form: type[Form], body: dict[str, Any], told: str) -> None:
    assert str(refuse(form, body)) == told
