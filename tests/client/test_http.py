"""An attachment over HTTP against answers that a test makes: streams that are held back, portals, refusals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from session_mgmt.client.core import Core
from session_mgmt.client.effects import Leave
from session_mgmt.client.rest import PORTAL_WAIT, Rest
from session_mgmt.client.storage import Saved
from session_mgmt.client.transports.calls import OURS
from session_mgmt.client.transports.carrier import Address, Host
from session_mgmt.client.transports.http import HttpCarrier
from session_mgmt.client.transports.memory import Memory
from session_mgmt.client.transports.stream import FIRST_BYTES_WITHIN, PING_WITHIN, FlowWatch, read_events
from session_mgmt.client.transports.way import Way
from session_mgmt.protocol.codes import Close
from tests.client.fake_server import connected
from tests.client.fake_ways import SteppedClock, get

CONNECT = {"type": "connect", "token": "sma_1", "client_id": None, "acked": 0, "logs": {}}


class Stream(httpx.AsyncByteStream):
    """Body of a stream: what the test puts in; `reads` tells whenever somebody waits for more."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self.reads: asyncio.Queue[None] = asyncio.Queue()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            self.reads.put_nowait(None)
            yield await self.chunks.get()


class Site:
    """Server that is asked by one carrier. `asked` brings each call; `answers` are given in turn, then none."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers, self.asked = [*answers], asyncio.Queue[tuple[str, Any, str]]()
        self.clock, self.saved = SteppedClock(), Saved(token="sma_1")
        http = httpx.AsyncClient(transport=httpx.MockTransport(self.answer))
        nobody: Any = None
        self.token, self.proofs = "sma_1", list[str]()
        rest = Rest(http, "http://test/api/", lambda: self.token)
        self.missed: list[int] = []
        self.round_trips: list[float] = []
        told = (self.missed.append, self.round_trips.append)
        host = Host(Core(Saved()), rest, self.clock, lambda: Address("", {}), *told)  # type: ignore[arg-type]
        memory = Memory(self.saved, "test", self.clock, lambda: nobody)  # type: ignore[arg-type]
        self.way = Way(("sse", "longpoll"), memory, self.clock)  # type: ignore[arg-type]
        self.carrier = HttpCarrier(host, self.way)
        self.held = asyncio.Event()
        self.held.set()

    async def answer(self, request: httpx.Request) -> httpx.Response:
        call = request.url.path.removeprefix("/api/connections/").rstrip("/")
        self.proofs.append(request.headers["authorization"])
        self.asked.put_nowait((call, json.loads(request.content), request.headers["accept"]))
        if self.answers:
            await self.held.wait()
            return self.answers.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def attach(self) -> None:
        self.carrier.send_frame(CONNECT)
        frame = await self.carrier.receive_frame(None)
        assert not isinstance(frame, Leave) and frame["type"] == "connected"


def good(*frames: Any) -> httpx.Response:
    return httpx.Response(200, json={"frames": frames, "next_in": 0}, headers={OURS: "1"})


def attached() -> httpx.Response:
    return good({**connected(), "recovery": None})


def refusal(status: int, **fields: Any) -> httpx.Response:
    return httpx.Response(status, json={"code": 1, "message": "…", **fields}, headers={OURS: "1"})


def flowing(stream: Stream) -> httpx.Response:
    return httpx.Response(200, stream=stream, headers={OURS: "1", "content-type": "text/event-stream; charset=utf-8"})


async def test_a_stream_whose_first_bytes_are_held_back_gives_way_to_long_polls_for_a_day() -> None:
    site = Site(attached())
    await site.attach()
    receiving = asyncio.create_task(site.carrier.receive_frame(None))
    assert [(await get(site.asked))[0] for _ in range(2)] == ["", "poll"]
    site.answers.append(good({"type": "hello"}))
    site.clock.pass_time(FIRST_BYTES_WITHIN + 1)
    call, _, accept = await get(site.asked)
    assert (call, accept, await receiving) == ("poll", "application/json", {"type": "hello"})
    assert (site.carrier.name, site.way.prefers_streams) == ("longpoll", False)
    await site.carrier.abandon()


async def test_a_stream_whose_small_chunks_are_held_back_gives_way_too() -> None:
    stream = Stream()
    site = Site(attached(), flowing(stream))
    await site.attach()
    receiving = asyncio.create_task(site.carrier.receive_frame(None))
    await get(stream.reads)
    stream.chunks.put_nowait(b":" + b" " * 1024 + b"\n\n")
    await get(stream.reads)
    assert [(await get(site.asked))[2] for _ in range(2)] == ["application/json", "text/event-stream"]
    site.clock.pass_time(PING_WITHIN)
    assert (await get(site.asked))[2] == "application/json"
    assert site.carrier.name == "longpoll"
    receiving.cancel()
    await site.carrier.abandon()


async def test_a_refused_stream_gives_way_to_long_polls() -> None:
    site = Site(attached(), refusal(406, name="transport_unavailable", close=None, reconnect=False))
    await site.attach()
    receiving = asyncio.create_task(site.carrier.receive_frame(None))
    assert [(await get(site.asked))[2] for _ in range(3)][-1] == "application/json"
    receiving.cancel()
    await site.carrier.abandon()


async def test_round_trips_are_those_of_calls_that_nobody_holds_back() -> None:
    stream = Stream()
    site = Site(attached(), flowing(stream))
    site.held.clear()
    site.carrier.send_frame(CONNECT)
    await get(site.asked)
    site.clock.time += 0.04
    site.held.set()
    await site.carrier.receive_frame(None)
    site.held.clear()
    receiving = asyncio.create_task(site.carrier.receive_frame(None))
    await get(site.asked)
    site.clock.time += 0.06
    site.held.set()
    await get(stream.reads)
    assert site.round_trips == pytest.approx([40.0, 60.0], abs=0.01)
    receiving.cancel()
    await site.carrier.abandon()


async def test_a_poll_without_an_answer_is_a_missed_beat_and_two_end_the_attachment() -> None:
    site = Site(attached(), httpx.Response(502), httpx.Response(502))
    await site.attach()
    receiving = asyncio.create_task(site.carrier.receive_frame(None))
    site.clock.pass_time(await get(site.clock.slept))
    assert await receiving == Leave(1006, "network_error", reconnect=True)
    assert site.missed == [1, 2]
    await site.carrier.abandon()


async def test_an_attachment_is_told_goodbye_by_its_own_token_when_the_session_is_another() -> None:
    site = Site(attached())
    await site.attach()
    receiving = asyncio.create_task(site.carrier.receive_frame(None))
    assert [(await get(site.asked))[0] for _ in range(2)] == ["", "poll"]
    site.token = "sma_of_another"
    site.answers.append(httpx.Response(204, headers={OURS: "1"}))
    await site.carrier.close(Close.DETACHED)
    call, body, _ = await get(site.asked)
    assert (call, body, site.proofs[-1]) == ("leave", {"client_id": "c_one", "generation": 1}, "Bearer sma_1")
    # Once, though the end closes it again.
    await site.carrier.close((await receiving).code)  # type: ignore[union-attr]
    assert site.asked.empty()
    await site.carrier.abandon()


async def test_an_attachment_that_the_server_has_ended_is_told_nothing() -> None:
    site = Site(attached(), refusal(409, name="detached", close=Close.DETACHED, reconnect=True))
    await site.attach()
    bye = await site.carrier.receive_frame(None)
    assert not isinstance(bye, Leave) and (bye["type"], bye["code"]) == ("bye", Close.DETACHED)
    await site.carrier.close(Close.DETACHED)
    assert "leave" not in {site.asked.get_nowait()[0] for _ in range(site.asked.qsize())}
    await site.carrier.abandon()


async def test_a_portal_is_no_server_and_clears_nothing() -> None:
    site = Site(httpx.Response(200, html="<h1>Log in to the network</h1>"))
    site.carrier.send_frame(CONNECT)
    assert await site.carrier.receive_frame(None) == Leave(1006, "not_our_server", True, PORTAL_WAIT)
    assert site.saved.token == "sma_1"
    await site.carrier.abandon()


async def test_a_refused_attach_is_told_as_by_a_socket() -> None:
    fields = {"name": "session_expired", "temporary": False, "session_id": "s-1", "close": 4504, "reconnect": False}
    site = Site(refusal(410, **fields))
    site.carrier.send_frame(CONNECT)
    error, bye = [await site.carrier.receive_frame(None) for _ in range(2)]
    assert not isinstance(error, Leave) and not isinstance(bye, Leave)
    assert (error["type"], error["session_id"]) == ("error", "s-1")
    assert (bye["type"], bye["code"], bye["reconnect"]) == ("bye", 4504, False)
    await site.carrier.abandon()


async def test_a_busy_server_is_asked_again_after_its_time_and_the_attachment_lives_on() -> None:
    site = Site(attached(), refusal(503, name="busy", temporary=True, retry_after=4.0, close=None, reconnect=True))
    site.answers.append(good({"type": "hello"}))
    site.way._allowed = ("longpoll",)
    site.carrier._poller.mode = "longpoll"
    await site.attach()
    receiving = asyncio.create_task(site.carrier.receive_frame(None))
    waited = await get(site.clock.slept)
    assert 4.0 <= waited <= 5.0
    site.clock.pass_time(waited)
    assert await receiving == {"type": "hello"}
    await site.carrier.abandon()


async def test_what_is_written_while_a_call_is_under_way_goes_together_in_the_next() -> None:
    site = Site(attached())
    await site.attach()
    receiving = asyncio.create_task(site.carrier.receive_frame(None))
    assert [(await get(site.asked))[0] for _ in range(2)] == ["", "poll"]
    site.held = asyncio.Event()
    site.answers.append(good({"type": "receipt", "seq": 1, "ok": True}))
    site.carrier.send_frame({"type": "publish", "seq": 1})
    assert [frame["seq"] for frame in (await get(site.asked))[1]["frames"]] == [1]
    for seq in (2, 3):
        site.carrier.send_frame({"type": "publish", "seq": seq})
    site.held.set()
    assert (await receiving)["seq"] == 1  # type: ignore[index]
    receiving = asyncio.create_task(site.carrier.receive_frame(None))
    call, body, _ = await get(site.asked)
    assert (call, [frame["seq"] for frame in body["frames"]]) == ("frames", [2, 3])
    receiving.cancel()
    await site.carrier.abandon()


TEXT = "data: " + json.dumps({"type": "entries", "text": "één, 二, 🙂"}, ensure_ascii=False) + "\n\n: k\n\n"


@given(cuts=st.lists(st.integers(1, len(TEXT.encode()) - 1), unique=True).map(sorted))
@settings(max_examples=30)
def test_a_stream_may_be_cut_anywhere_also_within_a_character(cuts: list[int]) -> None:
    raw = TEXT.encode()
    parts = [raw[start:end] for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True)]

    async def read() -> list[Any]:
        async def flow() -> AsyncIterator[bytes]:
            for part in parts:
                yield part

        return [frame async for frame, _ in read_events(flow(), FlowWatch(SteppedClock()))]  # type: ignore[arg-type]

    assert asyncio.run(read()) == [{"type": "entries", "text": "één, 二, 🙂"}]
