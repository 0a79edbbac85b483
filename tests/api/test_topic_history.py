"""The past of a topic over HTTP: for tokens of sessions that may follow it, and for nobody else."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.test import Client

from session_mgmt.actions import access
from session_mgmt.models import ClientSession, Subscription
from session_mgmt.shortcuts import publish, terminate_session
from tests.api.calls import Caller, refused

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("rooms")]
PAST = "topics/room:1/publications/"


def test_pages_go_back_by_the_place_of_their_first_entry(mine: Caller) -> None:
    positions = [publish("room:1", {"n": number}) for number in range(3)]
    page = mine.get(PAST + "?limit=2").json()
    assert (
        [entry[:3] for entry in page["entries"]]
        == [
            [position.offset, position.tag, {"n": number}]  # type: ignore[union-attr] # no test of transactions
            for number, position in enumerate(positions)
        ][1:]
    )
    assert page["more"] and page["epoch"] == positions[0].epoch  # type: ignore[union-attr] # as above
    first = page["entries"][0]
    rest = mine.get(f"{PAST}?before={page['epoch']}.{first[0]}.{first[1]}").json()
    assert ([entry[2] for entry in rest["entries"]], rest["more"]) == ([{"n": 0}], False)
    assert mine.get(f"{PAST}?before={page['epoch']}.0.").json()["entries"] == []
    # To read makes no subscription.
    assert not Subscription.objects.exists()


@pytest.mark.sqlite
@pytest.mark.parametrize(
    "wrong",
    [
        *("limit=0", "limit=201", "limit=x", "limit=", "after=1", "before=", "before=e.1", "before=e.-1.a"),
        *("before=e.1.%00", "before=e.1.a&before=e.1.a", "before=e.99999999999999999.a", f"before={'e' * 65}.1.a"),
        "before=" + "9" * 200,
    ],
)
def test_parameters_are_exact(mine: Caller, wrong: str) -> None:
    assert refused(mine.get(f"{PAST}?{wrong}"), "invalid_field", 400)


def test_a_place_of_another_history_is_refused(mine: Caller) -> None:
    place = publish("room:1", 1)
    for wrong in (f"{place.epoch}.2.{place.tag}", f"{place.epoch}.1.{'0' * 16}", f"{'0' * 16}.1.{place.tag}"):  # type: ignore[union-attr] # no test of transactions
        assert refused(mine.get(f"{PAST}?before={wrong}"), "unknown_position", 409)


def test_only_sessions_that_may_follow_a_topic_read_it(mine: Caller, nobody: Caller, page: Caller) -> None:
    publish("room:0", "not for them")
    for topic in ("room:0", "room:x", "nowhere"):
        assert refused(mine.get(f"topics/{topic}/publications/"), "topic_denied", 403)
    assert refused(nobody.get(PAST), "auth_required", 401)
    # People have the admin; who may follow a topic is a question about a session.
    http = Client()
    http.force_login(get_user_model().objects.create_superuser("root"))
    for caller in (page, Caller(http)):
        assert refused(caller.get(PAST), "topic_denied", 403)


def test_a_session_that_ends_while_the_application_is_asked_is_told_nothing(
    mine: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish("room:1", "not for the dead")
    asked = access.check_follow

    def ask_and_end(session: ClientSession, topic: str) -> Any:
        asked(session, topic)
        terminate_session(session)

    monkeypatch.setattr(access, "check_follow", ask_and_end)
    assert refused(mine.get(PAST), "session_terminated", 410)
    assert refused(mine.get(PAST), "session_terminated", 410)
