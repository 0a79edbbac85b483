"""Parameters of addresses: each that exists works, any other is refused as an unknown field is."""

from __future__ import annotations

from typing import Any

import pytest

from session_mgmt.shortcuts import create_session
from tests.api.calls import Caller, refused

pytestmark = pytest.mark.django_db
MAIN = "sessions/{id}/state/main/"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "sessions/"),
        ("GET", "sessions/{id}/"),
        ("PATCH", "sessions/{id}/"),
        ("DELETE", "sessions/{id}/"),
        ("GET", "sessions/{id}/events/"),
        ("GET", "sessions/{id}/metrics/"),
        ("GET", "sessions/{id}/state/"),
        ("GET", MAIN),
        ("PUT", MAIN),
        ("PATCH", MAIN),
        ("DELETE", MAIN),
        ("POST", MAIN + "sync/"),
        ("GET", MAIN + "history/"),
        ("GET", MAIN + "history/1/"),
        ("GET", MAIN + "diff/"),
        ("GET", MAIN + "persist/"),
        ("GET", MAIN + "conflicts/"),
        ("GET", "health/"),
        ("GET", "schema/"),
    ],
)
def test_an_unknown_parameter_is_refused(mine: Caller, method: str, path: str) -> None:
    mine.patch(MAIN, {"merge": {"a": 1}})
    answer = mine.call(method, f"{path}?limits=1", {"merge": {"a": 2}})
    assert refused(answer, "invalid_field", 400)
    assert answer.json()["field"] == "limits"
    assert mine.get(MAIN).json()["data"] == {"a": 1}


@pytest.mark.parametrize("query", ["limit=1&limit=2", "before=1&before=1"])
def test_a_parameter_given_twice_is_refused(mine: Caller, query: str) -> None:
    mine.patch(MAIN, {"merge": {"a": 1}})
    assert refused(mine.get(f"{MAIN}history/?{query}"), "invalid_field", 400)


def test_sessions_are_listed_in_pages(mine: Caller, alice: Any) -> None:
    made = [mine.session, *(str(create_session(user=alice).session.pk) for _ in range(4))]
    seen: list[str] = []
    address = "sessions/?limit=2"
    for _ in range(3):
        page = mine.get(address).json()
        assert len(page["results"]) <= 2
        seen += [one["session_id"] for one in page["results"]]
        address = f"sessions/?limit=2&before={page['next']}"
    assert page["next"] is None
    assert seen == made[::-1]


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "limit=501", "before=x", "before=1"])
def test_a_page_of_sessions_that_cannot_be_is_refused(mine: Caller, query: str) -> None:
    assert refused(mine.get(f"sessions/?{query}"), "invalid_field", 400)


def test_a_label_can_be_read(mine: Caller) -> None:
    assert mine.patch("sessions/{id}/", {"label": "Phone"}).json()["label"] == "Phone"
    assert mine.get("sessions/{id}/").json()["label"] == "Phone"
    assert mine.get("sessions/").json()["results"][0]["label"] == "Phone"
