"""Streams: polls that keep talking, over a real server, and what holding many of them costs."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from session_mgmt.bridge import bridge
from session_mgmt.consumers import http_polls
from session_mgmt.consumers.http_requests import Request
from session_mgmt.consumers.hub import hub
from session_mgmt.writes import verbs
from tests.bad_input.serving import served
from tests.http_peer import HttpPeer

pytestmark = pytest.mark.django_db(transaction=True)
ROOM = "topic:room:1"
HELD = 60


@pytest.fixture
async def real(transactional_db: None, declared: None) -> AsyncIterator[httpx.AsyncClient]:
    """The application behind uvicorn."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with (
        served("websockets-sansio") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=60) as client,
    ):
        yield client
    await hub().stop()


async def read_events(answer: httpx.Response) -> AsyncIterator[str]:
    """Give comments, and the data of events, as they come."""
    async for line in answer.aiter_lines():
        if line:
            yield line


def read_frames(lines: list[str]) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def open_stream(tab: HttpPeer, **headers: str) -> Any:
    given = {"Authorization": f"Bearer {tab.token}", "Accept": "text/event-stream", **headers}
    return tab.http.stream("POST", "/api/connections/poll/", json=tab.build_poll(), headers=given)


async def test_a_stream_brings_frames_as_they_come_and_ends_by_itself(
    real: httpx.AsyncClient, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_polls, "PING_SECONDS", 0.05)
    monkeypatch.setattr(http_polls, "QUIET_SECONDS", 0.1)
    tab = HttpPeer(real, created.token.secret, transport="sse")
    await tab.attach({ROOM: None})
    async with open_stream(tab) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["x-accel-buffering"] == "no" and answer.headers["x-session-mgmt"] == "1"
        lines = read_events(answer)
        first = await anext(lines)
        assert first == ":" + " " * 1024
        await bridge().read(verbs.publish, "room:1", "now")
        rest: list[str] = []
        while len(frames := read_frames(rest)) < 2 or ": k" not in rest:
            rest.append(await anext(lines))
    assert {frame["type"]: frame.get("ping") for frame in frames} == {"ping": 0, "entries": None}
    tab.take(frames)
    assert [entry[2] for entry in tab.entries[ROOM]] == ["now"]
    monkeypatch.setattr(http_polls, "LONGEST_STREAM", 0.1)
    async with open_stream(tab) as answer:
        *_, last = read_frames([line async for line in read_events(answer)])
    assert last == {"type": "again"}


async def test_a_client_that_closes_its_stream_or_poll_is_let_go(real: httpx.AsyncClient, created: Any) -> None:
    tab = HttpPeer(real, created.token.secret, transport="sse")
    await tab.attach({ROOM: None})
    async with open_stream(tab) as answer:
        await anext(read_events(answer))
        assert hub().held == 1
    await until(lambda: hub().held == 0)
    held = asyncio.ensure_future(tab.poll())
    await until(lambda: hub().held == 1)
    held.cancel()
    await until(lambda: hub().held == 0)
    assert not hub().serving.connections and all(not feed.live for feed in hub().serving.feeds.values())


async def test_a_peer_that_takes_nothing_is_let_go_and_what_it_missed_is_in_the_log(
    real: httpx.AsyncClient, created: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_polls, "LAST_SECONDS", 0.1)
    monkeypatch.setattr(http_polls, "LONGEST_STREAM", 0.1)
    tab = HttpPeer(real, created.token.secret, transport="sse")
    await tab.attach({ROOM: None})
    sent: list[bytes] = []

    async def send(message: dict[str, Any]) -> None:
        if len(sent) == 2:
            # The buffers are full, and nobody reads.
            await asyncio.get_running_loop().create_future()
        sent.append(message.get("body", b""))

    scope = {"headers": [(b"authorization", f"Bearer {tab.token}".encode())], "scheme": "http"}
    request = Request(scope, json.dumps(tab.build_poll()).encode())
    streaming = asyncio.ensure_future(http_polls.stream_poll(request, send, []))
    await until(lambda: len(sent) == 2)
    await bridge().read(verbs.publish, "room:1", "missed")
    await streaming
    assert hub().held == 0 and all(not feed.live for feed in hub().serving.feeds.values())
    await tab.poll(hold=0)
    assert [entry[2] for entry in tab.entries[ROOM]] == ["missed"]


async def test_polls_that_are_held_take_no_thread_and_beyond_the_bound_none_is_held(
    real: httpx.AsyncClient, created: Any, settings: Any
) -> None:
    settings.SESSION_MGMT = {
        **{"MAX_HELD": HELD, "MAX_CLIENTS": HELD + 1, "MAX_CONNECTIONS_PER_SESSION": HELD + 1},
        **{"MAX_REQUESTS_PER_SECOND": 0.0},
    }
    tabs = [HttpPeer(real, created.token.secret) for _ in range(HELD + 1)]
    for tab in tabs:
        await tab.attach({ROOM: None})
    # The threads of the views that attached, and those that read, are there.
    await tabs[0].poll(hold=0)
    before = threading.active_count()
    held = [asyncio.ensure_future(tab.poll()) for tab in tabs[:HELD]]
    await until(lambda: hub().held == HELD)
    assert threading.active_count() <= before
    answer = await tabs[HELD].call("poll/", tabs[HELD].build_poll())
    assert answer.json()["frames"] == [] and 5 <= answer.json()["next_in"] <= 10
    await bridge().read(verbs.publish, "room:1", "for all")
    await asyncio.gather(*held)
    assert [tab.entries[ROOM][0][2] for tab in tabs[:HELD]] == ["for all"] * HELD


async def until(true: Any) -> None:
    """Wait until something is so, in turns of the loop."""
    async with asyncio.timeout(60):
        while not true():
            turn = asyncio.get_running_loop().create_future()
            asyncio.get_running_loop().call_later(0.005, turn.set_result, None)
            await turn
