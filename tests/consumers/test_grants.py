"""The application is asked who may follow a topic: once in a storm, on threads of its own, at nobody else's cost."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from session_mgmt.actions.sessions import lifecycle, stopping
from session_mgmt.bridge import bridge
from session_mgmt.consumers import grants as grants_module
from session_mgmt.consumers.hub import hub
from session_mgmt.models import ClientSession
from session_mgmt.protocol.codes import Close
from session_mgmt.registry import topic

PATIENCE = 60.0


class Application:
    """Functions of a project: they count what they are asked, and block or fail as told."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, str]] = []
        self.threads: set[str] = set()
        self.allows = True
        self.goes_on = threading.Event()
        self.reached = threading.Event()

    def may_follow(self, session: Any, name: str) -> bool:
        self.asked.append((session.pk, name))
        self.threads.add(threading.current_thread().name)
        if name == "slow":
            self.reached.set()
            assert self.goes_on.wait(PATIENCE)
        if name == "broken":
            raise RuntimeError("a bug in the project")
        return self.allows


@pytest.fixture
def application(declared: None) -> Any:
    made = Application()

    @topic("asked:{name}")
    def may_follow(session: Any, name: str) -> bool:
        return made.may_follow(session, name)

    yield made
    made.goes_on.set()


async def test_a_topic_is_asked_for_once_in_a_storm(peers: Any, created: Any, application: Application) -> None:
    for _ in range(3):
        connected = await peers().open(created.token.secret, logs={"topic:asked:a": None, "topic:asked:b": None})
        assert {verdict["mode"] for verdict in connected["logs"].values()} == {"up_to_date"}
    assert sorted(application.asked) == [(created.session.pk, "a"), (created.session.pk, "b")]
    assert all("permission" in name for name in application.threads)


async def test_answers_are_asked_anew_after_their_seconds(
    peers: Any, created: Any, application: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    await peers().open(created.token.secret, logs={"topic:asked:a": None})
    now = hub().arrivals.grants._clock() + grants_module.KEPT_SECONDS
    monkeypatch.setattr(hub().arrivals.grants, "_clock", lambda: now)
    application.allows = False
    connected = await peers().open(created.token.secret, logs={"topic:asked:a": None})
    assert connected["logs"]["topic:asked:a"]["mode"] == "denied"
    assert len(application.asked) == 2


async def test_answers_are_asked_anew_after_an_order_about_the_session(
    peers: Any, created: Any, application: Application
) -> None:
    one = peers()
    await one.open(created.token.secret, logs={"topic:asked:a": None})
    application.allows = False
    await bridge().call(stopping.stop_session, created.session.pk, Close.DETACHED)
    assert await one.closed() == 4005
    connected = await peers().open(created.token.secret, logs={"topic:asked:a": None})
    assert connected["logs"]["topic:asked:a"]["mode"] == "denied"


async def test_a_function_that_blocks_holds_nobody_else(peers: Any, created: Any, application: Application) -> None:
    other = await bridge().call(lifecycle.create_session)
    blocked = peers()
    await blocked.handshake()
    await blocked.say(
        type="connect", token=created.token.secret, client_id=None, logs={"topic:asked:slow": None}, acked=0
    )
    await bridge().read(application.reached.wait, PATIENCE)
    assert hub().arrivals.admission.waiting == 0, "whoever waits for the application takes nobody's turn"
    connected = await peers().open(other.token.secret, logs={"topic:asked:a": None, "topic:room:1": None})
    assert {verdict["mode"] for verdict in connected["logs"].values()} == {"up_to_date"}
    application.goes_on.set()
    late = await blocked.next()
    assert late["logs"]["topic:asked:slow"]["mode"] == "up_to_date"


async def test_a_topic_without_an_answer_in_time_is_denied_for_now_and_the_rest_goes_on(
    peers: Any,
    created: Any,
    application: Application,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(grants_module, "LONGEST_ANSWER", 0.05)
    logs = {"topic:asked:a": None, "topic:asked:slow": None, "topic:asked:b": None, "state:main": None}
    connected = await peers().open(created.token.secret, logs=logs)
    modes = {name: verdict["mode"] for name, verdict in connected["logs"].items()}
    # The one after it could not be asked either: a session's questions take turns.
    assert modes == {
        "topic:asked:a": "up_to_date",
        "topic:asked:slow": "denied",
        "topic:asked:b": "denied",
        "state:main": "snapshot",
    }
    error = connected["logs"]["topic:asked:slow"]["error"]
    assert (error["name"], error["temporary"]) == ("busy", True) and error["retry_after"]
    assert [record.levelname for record in caplog.records if "asked:slow" in record.getMessage()] == ["ERROR"]


async def test_a_function_that_raises_denies_its_topic_alone(
    peers: Any, created: Any, application: Application, caplog: pytest.LogCaptureFixture
) -> None:
    logs = {"topic:asked:broken": None, "topic:asked:a": None}
    connected = await peers().open(created.token.secret, logs=logs)
    assert {name: verdict["mode"] for name, verdict in connected["logs"].items()} == {
        "topic:asked:broken": "denied",
        "topic:asked:a": "up_to_date",
    }


async def test_functions_get_a_session_of_the_model_with_its_user(
    peers: Any, declared: None, django_user_model: Any
) -> None:
    user = await bridge().call(django_user_model.objects.create_user, "alice")
    created = await bridge().call(lifecycle.create_session, user=user, metadata={"role": "cook"})
    seen: list[Any] = []

    @topic("kitchen:{name}")
    def may_follow(session: ClientSession, name: str) -> bool:
        stored = ClientSession.objects.get(pk=session.pk)
        assert isinstance(session, ClientSession) and session == stored
        seen.append((session.user.get_username(), session.metadata, session.config, session.activity.live))
        return session.user == user and ClientSession.objects.filter(pk=session.pk, user=session.user).exists()

    connected = await peers().open(created.token.secret, logs={"topic:kitchen:1": None})
    assert connected["logs"]["topic:kitchen:1"]["mode"] == "up_to_date"
    assert seen == [("alice", {"role": "cook"}, {}, True)]


async def test_a_refused_token_asks_the_application_nothing(peers: Any, application: Application) -> None:
    assert (await peers().open("sma_unknown", logs={"topic:asked:a": None}))["name"] == "invalid_token"
    assert application.asked == []
