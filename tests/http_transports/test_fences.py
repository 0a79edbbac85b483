"""Proof of each call over HTTP: who is it, may it still, and what happens if not."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import orjson
import pytest
from rest_framework.exceptions import Throttled
from rest_framework.throttling import BaseThrottle

from session_mgmt.actions.sessions import calls, permits
from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.models import Client, ClientSession, Connection, SessionEvent, Subscription
from session_mgmt.registry import on_message, topic
from session_mgmt.shortcuts import disconnect, is_connected, reconnect, terminate_session
from session_mgmt.writes import verbs
from tests.turns import pass_turn

pytestmark = pytest.mark.django_db(transaction=True)
MAIN, ROOM, SECRET = "state:main", "topic:room:1", "topic:room:secret"


def update(seq: int, value: Any = 1) -> dict[str, Any]:
    return {"type": "update", "seq": seq, "doc": "main", "ops": [["set", "/a", value]]}


def refused(answer: Any, status: int, name: str, close: int | None, *, reconnect: bool) -> bool:
    told = answer.json()
    assert (answer.status_code, told["name"], told["close"]) == (status, name, close), told
    assert told["reconnect"] is reconnect and answer.headers["x-session-mgmt"] == "1"
    assert answer.headers["cache-control"] == "no-store, no-transform"
    return True


async def test_a_lower_generation_is_refused_and_its_number_stays_free(tabs: Any, created: Any) -> None:
    old = tabs(created.token.secret)
    await old.attach({MAIN: None})
    new = tabs(created.token.secret)
    new.client_id = old.client_id
    await new.attach({MAIN: None})
    body = {"client_id": old.client_id, "generation": 1, "logs": {}, "frames": [update(1, "old")]}
    assert refused(await old.call("frames/", body), 409, "replaced", 4507, reconnect=False)
    assert refused(await old.call("poll/", old.build_poll(0)), 409, "replaced", 4507, reconnect=False)
    assert (await bridge().read(Client.objects.get)).last_seq == 0
    (receipt,) = [frame for frame in await new.exchange(update(1, "new")) if frame["type"] == "receipt"]
    assert receipt["ok"] and "replayed" not in receipt


async def test_a_held_poll_hears_of_the_next_attachment_and_a_newer_poll_ends_it(tabs: Any, created: Any) -> None:
    old = tabs(created.token.secret)
    await old.attach({ROOM: None})
    first = asyncio.ensure_future(old.poll())
    await until_held(first)
    second = asyncio.ensure_future(old.poll())
    assert await first == []
    new = tabs(created.token.secret)
    new.client_id = old.client_id
    await new.attach({ROOM: None})
    (bye,) = await second
    assert (bye["type"], bye["code"]) == ("bye", 4507)


async def test_the_control_query_ends_a_poll_that_was_replaced_elsewhere(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    held = asyncio.ensure_future(tab.poll())
    await until_held(held)
    await bridge().read(lambda: Client.objects.update(generation=2))
    await hub().rounds.check_sessions()
    assert [frame["code"] for frame in await held] == [4507]


async def test_the_end_of_a_session_reaches_a_held_poll_with_its_reason(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    held = asyncio.ensure_future(tab.poll())
    await until_held(held)
    await bridge().read(terminate_session, created.session)
    (bye,) = await held
    assert (bye["code"], bye["reason"]) == (4503, "requested")
    assert refused(await tab.call("poll/", tab.build_poll(0)), 410, "session_terminated", 4503, reconnect=False)


@pytest.mark.parametrize(
    ("order", "name", "close", "reconnect"),
    [(disconnect, "disconnected", 1000, False), (reconnect, "detached", 4005, True)],
    ids=["disconnect", "reconnect"],
)
async def test_an_order_to_close_is_told_as_such_also_between_two_polls(
    tabs: Any, created: Any, order: Any, name: str, close: int, reconnect: bool
) -> None:
    tab = tabs(created.token.secret)
    # Without logs: a snapshot would be an answer too.
    await tab.attach({})
    held = asyncio.ensure_future(tab.poll())
    await until_held(held)
    assert await bridge().read(order, created.session) == 1
    assert [frame["code"] for frame in await held if frame["type"] == "bye"] == [close]
    # Nothing is held when the next one comes: its client finds it out by whatever it does then.
    await tab.attach()
    assert await bridge().read(order, created.session) == 1
    for call in ("poll/", "frames/", "leave/"):
        body = {**tab.build_poll(0), "logs": {}, "frames": [update(1)]}
        assert refused(await tab.call(call, body), 409, name, close, reconnect=reconnect)
    # No process would close the row before its lease ends.
    row = await bridge().read(Connection.objects.latest, "pk")
    assert row.closed_at is not None and (row.close_code, row.closed_by) == (close, "server")
    assert not await bridge().read(is_connected, created.session)
    lost = await bridge().read(list, SessionEvent.objects.filter(type="connection_lost"))
    assert [orjson.loads(event.data) for event in lost] == [{"code": close, "by": "server"}] * (2 if reconnect else 0)
    await tab.attach()
    (receipt,) = [frame for frame in await tab.exchange(update(1)) if frame["type"] == "receipt"]
    assert receipt["ok"] and "replayed" not in receipt


@pytest.mark.parametrize(
    ("token", "status", "name"), [("sma_" + "x" * 43, 401, "invalid_token"), ("", 401, "auth_required")]
)
async def test_without_a_proof_no_call_is_answered(tabs: Any, created: Any, token: str, status: int, name: str) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    for call in ("", "poll/", "frames/", "leave/"):
        header = {"Authorization": f"Bearer {token}"} if token else {"Authorization": ""}
        answer = await tab.call(call, {**tab.build_poll(0), "transport": "sse", "frames": [], "logs": {}}, **header)
        assert (answer.status_code, answer.json()["name"]) == (status, name), call


@pytest.mark.requirement("ASVS 3.4.2")
async def test_a_page_of_another_origin_is_refused_at_each_call(tabs: Any, created: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"ALLOWED_ORIGINS": ["https://app.example"]}
    tab = tabs(created.token.secret)
    await tab.attach({})
    for call in ("", "poll/", "frames/", "leave/"):
        answer = await tab.call(call, tab.build_poll(0), Origin="https://evil.example")
        assert refused(answer, 403, "origin_denied", 4509, reconnect=False)
        assert "access-control-allow-origin" not in answer.headers
    answer = await tab.call("poll/", tab.build_poll(0), Origin="https://app.example")
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "X-Session-Mgmt" in answer.headers["access-control-expose-headers"]
    for call in ("", "poll/", "frames/", "leave/"):
        asked = await tab.http.options(f"/api/connections/{call}", headers={"Origin": "https://app.example"})
        assert (asked.status_code, asked.headers["access-control-max-age"]) == (204, "7200")


@pytest.mark.parametrize(
    ("length", "name"), [("²", "auth_required"), ("9" * 5000, "frame_too_large")], ids=["no digit", "many"]
)
async def test_a_declared_length_that_is_no_sound_number_is_no_fault(http: Any, length: str, name: str) -> None:
    answer = await http.post("/api/connections/poll/", headers={"Content-Length": length.encode("latin-1")})
    assert answer.json()["name"] == name


async def test_a_poll_is_refused_for_its_head_as_every_other_call_is(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    json = "application/json"
    heads: list[tuple[str, str, dict[str, str]]] = [
        ("POST", "?token=x", {}),
        ("POST", "?a", {}),
        ("GET", "", {}),
        ("POST", "", {"Content-Type": f"{json}; charset=latin-1"}),
        ("POST", "", {"Content-Type": f"{json}; charset=UTF-8"}),
        ("POST", "", {"Content-Type": f"{json}; x={'x' * 200}"}),
        ("POST", "", {"Content-Encoding": "gzip"}),
        ("POST", "", {"Content-Encoding": "Identity"}),
    ]

    async def ask(call: str, method: str, query: str, more: dict[str, str]) -> Any:
        headers = {"Authorization": f"Bearer {tab.token}", "Content-Type": json, **more}
        body = orjson.dumps({**tab.build_poll(0), "frames": []})
        answer = await tab.http.request(method, f"/api/connections/{call}{query}", content=body, headers=headers)
        told = answer.json()
        return answer.status_code, told.get("name"), told.get("field"), answer.headers.get("allow", "")

    for head in heads:
        status, name, field, allow = await ask("poll/", *head)
        theirs = await ask("frames/", *head)
        assert (status, name, field, allow if status == 405 else theirs[3]) == theirs, head


async def test_a_grant_that_is_forged_foreign_or_over_makes_the_application_be_asked(
    tabs: Any, created: Any, settings: Any
) -> None:
    tab, other = tabs(created.token.secret), tabs(created.token.secret)
    await tab.attach({ROOM: None})
    await other.attach({ROOM: None})
    good, holder = tab.logs[ROOM]["grant"], await bridge().read(find_holder, tab)
    over = permits.make_permit(holder, "room:1", now=created.session.created_at, lifetime=timedelta(seconds=-1))
    assert permits.is_permitted(holder, "room:1", good, now=created.session.created_at)
    assert await tab.poll(hold=0) == []
    for bad in ("A" * len(good), other.logs[ROOM]["grant"], over, "", "no base64 ä"):
        tab.logs[ROOM]["grant"] = bad
        frames = await tab.poll(hold=0)
        assert [frame["type"] for frame in frames] == ["grants"], bad
        assert await tab.poll(hold=0) == []


def find_holder(tab: Any) -> permits.Holder:
    client = Client.objects.get(client_id=tab.client_id)
    return permits.Holder(client.session_id, client.pk, client.generation, client.session.access_version)


async def test_a_poll_follows_no_more_topics_than_a_session_may(tabs: Any, created: Any, settings: Any) -> None:
    settings.SESSION_MGMT = {"MAX_SUBSCRIPTIONS": 2}
    tab = tabs(created.token.secret)
    await tab.attach({ROOM: None})
    for room in range(2, 5):
        tab.follow(f"topic:room:{room}", {"mode": "up_to_date", "position": None}, None)
    frames = await tab.poll(hold=0)
    assert [list(frame["grants"]) for frame in frames if frame["type"] == "grants"] == [["topic:room:2"]]
    refused = [(frame["log"], frame["name"]) for frame in frames if frame["type"] == "error"]
    assert refused == [(f"topic:room:{room}", "subscription_limit") for room in (3, 4)]


async def test_the_topics_of_all_polls_of_a_session_are_limited_together(
    tabs: Any, created: Any, settings: Any
) -> None:
    settings.SESSION_MGMT = {"MAX_SUBSCRIPTIONS": 2}
    one, other = tabs(created.token.secret), tabs(created.token.secret)
    await one.attach({ROOM: None})
    await other.attach({})
    for room in (2, 3):
        other.follow(f"topic:room:{room}", {"mode": "up_to_date", "position": None}, None)
    frames = await other.poll(hold=0)
    assert [list(frame["grants"]) for frame in frames if frame["type"] == "grants"] == [["topic:room:2"]]
    assert [frame["log"] for frame in frames if frame.get("name") == "subscription_limit"] == ["topic:room:3"]
    topics = Subscription.objects.order_by("topic").values_list("topic", flat=True)
    assert await bridge().read(list, topics) == ["room:1", "room:2"]


class Closed(BaseThrottle):
    """Throttle of the project, which is closed for everybody."""

    def allow_request(self, request: Any, view: Any) -> bool:
        return "x-open" in request.headers and request.user.is_anonymous

    def wait(self) -> float:
        return 7.0


class Raising(BaseThrottle):
    """Throttle of the project that refuses by an exception of REST framework."""

    def allow_request(self, request: Any, view: Any) -> bool:
        raise Throttled()


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
async def test_the_throttles_of_the_setting_count_for_every_call(
    accept: str, tabs: Any, created: Any, settings: Any
) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    for throttle, wait in (("Closed", "7"), ("Raising", None)):
        settings.SESSION_MGMT = {"THROTTLE_CLASSES": [f"{__name__}.{throttle}"]}
        for call in ("poll/", "frames/", "leave/", ""):
            answer = await tab.call(call, tab.build_poll(0), Accept=accept)
            assert refused(answer, 429, "too_many_requests", 4029, reconnect=True)
            assert answer.headers.get("retry-after") == wait
    settings.SESSION_MGMT = {"THROTTLE_CLASSES": [f"{__name__}.Closed"]}
    assert (await tab.call("poll/", tab.build_poll(0), **{"X-Open": "1"})).status_code == 200


async def test_a_topic_that_is_forbidden_between_two_polls_is_denied(tabs: Any, created: Any) -> None:
    allowed = {"x": True}

    @topic("club:{name}")
    def may_follow(session: Any, name: str) -> bool:
        return allowed["x"]

    tab = tabs(created.token.secret)
    await tab.attach({"topic:club:1": None})
    allowed["x"] = False
    assert await tab.poll(hold=0) == []
    await bridge().read(raise_access_version, created.session.pk)
    (error,) = await tab.poll(hold=0)
    assert (error["type"], error["log"], error["name"]) == ("error", "topic:club:1", "topic_denied")
    await bridge().read(verbs.publish, "club:1", "secret")
    assert [frame["type"] for frame in await tab.poll(hold=0)] == ["error"]


def raise_access_version(session: Any) -> None:
    from session_mgmt.models import ClientSession

    ClientSession.objects.filter(pk=session).update(access_version=5)


async def test_a_slow_handler_is_answered_busy_and_never_begun_twice(
    tabs: Any, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    from session_mgmt.consumers import http_frames

    go_on, begun = threading.Event(), []

    @on_message
    def slow(session: Any, data: Any) -> Any:
        begun.append(data)
        go_on.wait(30)
        return {"done": True}

    monkeypatch.setattr(http_frames, "ANSWER_SECONDS", 0.05)
    tab = tabs(created.token.secret)
    await tab.attach({})
    message = {"type": "send", "seq": 1, "data": {"n": 1}}
    for _ in range(2):
        (receipt,) = await tab.exchange(message)
        assert (receipt["ok"], receipt["error"]["name"]) == (False, "busy")
    go_on.set()
    monkeypatch.setattr(http_frames, "ANSWER_SECONDS", 20)
    (receipt,) = await tab.exchange(message)
    assert (receipt["ok"], receipt["data"], begun) == (True, {"done": True}, [{"n": 1}])


async def test_an_attachment_that_only_writes_has_no_row_no_event_and_no_lease(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret, "none")
    connected = await tab.attach({MAIN: None})
    assert connected["recovery"] is None
    types = [frame["type"] for frame in await tab.exchange(update(1))]
    # The snapshot may have been read before the write or after it.
    assert (types[0], types[-1]) == ("snapshot", "receipt") and tab.logs[MAIN]["position"][1] == 1
    # It is not held, whatever it asks for.
    assert await tab.poll() == []
    assert await bridge().read(Connection.objects.count) == 0
    assert await bridge().read(SessionEvent.objects.filter(type__startswith="connection").count) == 0


async def test_leaving_closes_the_connection_and_is_no_loss(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({})
    claim = {"client_id": tab.client_id, "generation": tab.generation}
    assert (await tab.call("leave/", claim)).status_code == 204
    row = await bridge().read(Connection.objects.get)
    assert (row.close_code, row.closed_by) == (1000, "client")
    assert await bridge().read(SessionEvent.objects.filter(type="connection_lost").count) == 0
    assert refused(await tab.call("poll/", tab.build_poll(0)), 409, "heartbeat_lost", 4002, reconnect=True)


async def test_leaving_again_has_the_same_answer_and_changes_nothing(tabs: Any, created: Any) -> None:
    tab, lost = tabs(created.token.secret), tabs(created.token.secret)
    await tab.attach({})
    await lost.attach({})
    claim = {"client_id": tab.client_id, "generation": tab.generation}
    assert (await tab.call("leave/", claim)).status_code == 204
    # The other one's lease is over.
    ended = {"closed_at": created.session.created_at, "close_code": 4002, "closed_by": "server"}
    await bridge().read(lambda: Connection.objects.filter(client__client_id=lost.client_id).update(**ended))
    rows = Connection.objects.order_by("pk").values()
    before = await bridge().read(list, rows.all()), await bridge().read(SessionEvent.objects.count)
    for one in (tab, lost):
        claim = {"client_id": one.client_id, "generation": one.generation}
        assert (await one.call("leave/", claim)).status_code == 204
    assert (await bridge().read(list, rows.all()), await bridge().read(SessionEvent.objects.count)) == before


async def test_leaving_ends_a_held_poll_by_an_order_to_all_processes(tabs: Any, created: Any) -> None:
    tab, orders = tabs(created.token.secret), list[Any]()
    await tab.attach({})
    held = asyncio.ensure_future(tab.poll())
    await until_held(held)
    stop_listening = bridge().listen(lambda heads, payload: orders.append(payload) if payload else None)
    try:
        claim = {"client_id": tab.client_id, "generation": tab.generation}
        assert (await tab.call("leave/", claim)).status_code == 204
        (bye,) = await held
    finally:
        stop_listening()
    assert (bye["type"], bye["code"]) == ("bye", 1000)
    client = (await bridge().read(Client.objects.get)).pk
    assert {"stop": [[client, tab.generation + 1]], "code": 1000} in orders


async def test_a_recovery_is_told_once_and_kept_for_the_people_of_the_site(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({MAIN: None, ROOM: None})
    await tab.poll(hold=0)
    for number in range(3):
        await bridge().read(verbs.publish, "room:1", number)
    connected = await tab.attach()
    assert (connected["verdict"], connected["logs"][ROOM]["mode"]) == ("full", "entries")
    frames = await tab.poll(hold=0)
    assert [frame["type"] for frame in frames] == ["entries", "recovery"] and frames[0]["recovered"]
    receipt = frames[1]["receipt"]
    assert receipt["replayed"] == {ROOM: [1, 3]} and receipt["id"] == connected["recovery"]
    await hub().late_writes.flush()
    row = await bridge().read(lambda: Connection.objects.latest("pk"))
    assert f'"duration_ms":{receipt["duration_ms"]}' in row.receipt
    # An answer that was lost is given again.
    tab.recovery = connected["recovery"]
    (again,) = await tab.poll(hold=0)
    assert again["receipt"] == receipt


async def test_a_recovery_ends_with_what_was_promised_however_much_is_written_since(tabs: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({ROOM: None})
    await bridge().read(verbs.publish, "room:1", "promised")
    await tab.attach()
    # The entries came by an answer whose receipt was cut off, and others were written meanwhile.
    recovery, tab.recovery = tab.recovery, None
    await tab.poll(hold=0)
    await bridge().read(verbs.publish, "room:1", "later")
    tab.recovery = recovery
    first, *rest = await tab.poll(hold=0)
    assert (first["type"], first["receipt"]["replayed"]) == ("recovery", {ROOM: [1, 1]})
    while not rest:
        # Its answer may have gone before they were read.
        tab.recovery = recovery
        _, *rest = await tab.poll(hold=0)
    assert [(frame["type"], "recovered" in frame) for frame in rest] == [("entries", False)]


async def test_changing_the_transport_is_no_loss_and_is_told(tabs: Any, peers: Any, created: Any) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({MAIN: None})
    await tab.poll(hold=0)
    socket = peers()
    connected = await socket.open(created.token.secret, client_id=tab.client_id, logs={MAIN: None})
    assert connected["generation"] == 2
    events = await bridge().read(lambda: list(SessionEvent.objects.order_by("seq").values_list("type", flat=True)))
    assert "connection_lost" not in events and events.count("connection_restored") == 1
    told = await bridge().read(lambda: SessionEvent.objects.get(type="connection_restored"))
    assert b'"switched":"longpoll>websocket"' in bytes(told.data)


async def test_a_bare_ping_before_connect_is_answered_and_proves_nothing(peers: Any, created: Any) -> None:
    socket = peers()
    await socket.handshake()
    await socket.say(type="ping", id=5)
    pong = await socket.next()
    assert (pong["type"], pong["id"]) == ("pong", 5)
    await socket.say(type="connect", token=created.token.secret, client_id=None, logs={}, acked=0)
    assert (await socket.next())["type"] == "connected"
    asking = peers()
    await asking.handshake()
    await asking.say(type="ping", id=1)
    await asking.next()
    await asking.say(type="ping", id=2)
    assert await asking.closed() == 4500


async def until_held(poll: asyncio.Future[Any]) -> None:
    """Wait until a poll is held and follows its logs. One that is answered instead would be waited for for ever."""
    while hub().held < 1 or not hub().serving.connections:
        assert not poll.done(), f"the poll was answered: {poll.result()}"
        await pass_turn()


ENDS: dict[str, tuple[str, Any]] = {
    "its client is gone": ("_load_clients", lambda session: session.delete()),
    "its client is fenced": ("_load_clients", terminate_session),
    "its document is gone": ("_look", lambda session: session.delete()),
}


@pytest.mark.parametrize("missed", ENDS)
async def test_a_session_that_ends_between_two_statements_of_a_call_is_told_and_not_what_went_with_it(
    tabs: Any, created: Any, monkeypatch: pytest.MonkeyPatch, missed: str
) -> None:
    tab = tabs(created.token.secret)
    await tab.attach({MAIN: None})
    name, end = ENDS[missed]
    look = getattr(calls, name)

    def end_first(*given: Any) -> Any:
        for session in ClientSession.objects.all():
            end(session)
        return look(*given)

    monkeypatch.setattr(calls, name, end_first)
    answer = await tab.call("poll/", tab.build_poll(0))
    assert refused(answer, 410, "session_terminated", 4503, reconnect=False)
