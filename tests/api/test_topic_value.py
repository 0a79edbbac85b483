"""The value of a topic over HTTP and in Python: for who may follow it, at the place where its publications go on."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError, transaction
from django.test import Client

from session_mgmt.actions import access
from session_mgmt.exceptions import HandlerFailed, InvalidField, SessionNotFound, Unavailable
from session_mgmt.models import ClientSession, Subscription
from session_mgmt.registry import topic
from session_mgmt.shortcuts import acreate_session, avalue, publish, terminate_session, value
from tests.api.calls import Caller, refused
from tests.away import fail_in_postgres

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rooms")]
VALUE = "topics/room:1/value/"
BREAKS: dict[str, Exception] = {"broken": ValueError("as declared"), "away": OperationalError("as declared")}
BREAKS["away"].__cause__ = fail_in_postgres("57P01")


def fail(name: str) -> Any:
    raise BREAKS[name]


class Lazy(list[str]):
    """Rows that are read only when they are looked at, as those of a query set."""

    def __iter__(self) -> Any:
        return (fail(name) for name in super().__iter__())


@pytest.fixture
def lists(rooms: None) -> None:
    """``list:{name}`` has a value, or fails; ``bare:{name}`` has none."""

    def read_list(session: Any, name: str) -> Any:
        if name.startswith("lazily-"):
            return Lazy([name.removeprefix("lazily-")])
        return fail(name) if name in BREAKS else {"name": name, "session": str(session.pk)}

    topic("list:{name}", snapshot=read_list)(lambda session, name: name != "closed")
    topic("bare:{name}")(lambda session, name: True)


def test_a_value_has_the_place_from_which_its_publications_go_on(mine: Caller, lists: None) -> None:
    before = mine.get(VALUE).json()
    place = publish("room:1", {"n": 1})
    answer = mine.get(VALUE).json()
    assert (before["position"][1], before["data"]) == (0, ["1"])
    assert answer == {"position": place.as_json(), "data": ["1"]}  # type: ignore[union-attr] # no test of transactions
    assert mine.get("topics/list:a/value/").json()["data"] == {"name": "a", "session": mine.session}
    # To read makes no subscription.
    assert not Subscription.objects.exists()


@pytest.mark.sqlite
def test_only_sessions_that_may_follow_a_topic_read_its_value(
    mine: Caller, nobody: Caller, page: Caller, lists: None
) -> None:
    for name in ("room:0", "room:x", "nowhere", "list:closed"):
        assert refused(mine.get(f"topics/{name}/value/"), "topic_denied", 403)
    assert refused(nobody.get(VALUE), "auth_required", 401)
    # People have no session for which a value could be made.
    http = Client()
    http.force_login(get_user_model().objects.create_superuser("root"))
    for caller in (page, Caller(http)):
        assert refused(caller.get(VALUE), "topic_denied", 403)


@pytest.mark.sqlite
def test_a_value_that_cannot_be_told_says_why(mine: Caller, lists: None) -> None:
    assert refused(mine.get("topics/bare:1/value/"), "invalid_field", 400)
    assert refused(mine.get("topics/list:broken/value/"), "handler_failed", 500)
    assert refused(mine.get(VALUE + "?limit=1"), "invalid_field", 400)
    away = mine.get("topics/list:away/value/")
    assert refused(away, "unavailable", 503) and away["Retry-After"] == "1"


@pytest.mark.sqlite
def test_a_session_that_ends_while_the_application_is_asked_is_told_nothing(
    mine: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = access.check_follow

    def ask_and_end(session: ClientSession, topic: str) -> Any:
        asked(session, topic)
        terminate_session(session)

    monkeypatch.setattr(access, "check_follow", ask_and_end)
    assert refused(mine.get(VALUE), "session_terminated", 410)


@pytest.mark.django_db(transaction=True)
def test_code_of_the_project_reads_a_value_as_a_session_is_told_it(mine: Caller, lists: None) -> None:
    place = publish("list:a", 1)
    told = value("list:a", mine.session)
    assert (told.data, told.position) == ({"name": "a", "session": mine.session}, place)
    # Nobody is asked for a right.
    assert value("list:closed", mine.session).data["name"] == "closed"
    for name, expected in (("bare:1", InvalidField), ("no\ntopic", InvalidField), ("list:broken", HandlerFailed)):
        with pytest.raises(expected):
            value(name, mine.session)
    for name in ("list:away", "list:lazily-away"):
        with pytest.raises(Unavailable):
            value(name, mine.session)
    with pytest.raises(SessionNotFound):
        value("list:a", "01937a52-7a39-7bd1-a71b-3c1f6e0ad9a1")
    with transaction.atomic(), pytest.raises(RuntimeError, match=r"value\(\) begins a transaction of its own"):
        value("list:a", mine.session)


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
async def test_async_code_reads_a_value_too(transactional_db: None, lists: None) -> None:
    created = await acreate_session()
    assert (await avalue("list:a", created.session)).data["name"] == "a"
