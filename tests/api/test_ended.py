"""Every call about a session that is over: a documented answer, whoever asks and however it ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest

from session_mgmt.actions.access import SERVER
from session_mgmt.actions.sessions import expiry, lifecycle
from session_mgmt.api.description import build_schema
from session_mgmt.models import ClientSession, SessionActivity
from tests.api.calls import Caller

pytestmark = pytest.mark.django_db

VALUES = {"name": "main", "topic": "room:1", "version": "1", "conflict": "1", "client": "c_x"}


def run_out(session: str) -> None:
    activity = SessionActivity.objects.get(session=session)
    SessionActivity.objects.filter(session=session).update(expires_at=activity.last_active_at - timedelta(days=1))


def expire(session: str) -> None:
    run_out(session)
    expiry.expire_due(limit=10)


def terminate(session: str) -> None:
    lifecycle.terminate_session(SERVER, ClientSession.objects.get(pk=session).pk)


def delete(session: str) -> None:
    ClientSession.objects.filter(pk=session).delete()


# To ask whether a session may act, to have a successor, and to end what has ended changes nothing of it.
ALLOWED = {f"POST /sessions/{{id}}/{verb}/" for verb in ("validate", "recover")} | {"DELETE /sessions/{id}/"}

ENDS: dict[str, Callable[[str], None]] = {
    "past its deadline": run_out,
    "expired": expire,
    "terminated": terminate,
    "deleted": delete,
}


def list_calls() -> Iterator[tuple[str, str]]:
    """Return method and path of every operation that names a session."""
    for path, methods in json.loads(json.dumps(build_schema("/api/")))["paths"].items():
        if path.startswith("/sessions/{"):
            for method in methods:
                yield method.upper(), path


def fill_in(path: str, session: str) -> str:
    head, *rest = path.removeprefix("/").split("{")
    parts = [part.split("}", 1) for part in rest]
    # The first name is that of the session.
    values = [session, *(VALUES.get(name, "1") for name, _ in parts[1:])]
    return head + "".join(value + tail for value, (_, tail) in zip(values, parts, strict=True))


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("who", ["token", "page"])
def test_every_call_about_a_session_that_is_over_is_answered_by_the_document(
    mine: Caller, page: Caller, end: str, who: str
) -> None:
    ENDS[end](mine.session)
    asker = mine if who == "token" else page
    answers: dict[str, int] = {}
    for method, path in list_calls():
        answer: Any = asker.call(method, fill_in(path, mine.session), None if method == "GET" else {})
        answers[f"{method} {path}"] = answer.status_code
        assert answer.status_code < 500 or answer.status_code == 503, (method, path, answer.content[:200])
        if answer.status_code >= 400:
            assert "name" in json.loads(answer.content), (method, path)
    assert len(answers) > 20
    done = {call for call, status in answers.items() if status < 300 and not call.startswith("GET")}
    assert done <= ALLOWED, answers
