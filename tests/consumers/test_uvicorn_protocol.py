"""Our class for uvicorn's ``--ws`` beside uvicorn's own: any bytes in any pieces, the same messages and answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState

from session_mgmt.conf import settings
from session_mgmt.consumers.frame_reader import LOT
from session_mgmt.consumers.pacing import crowd
from session_mgmt.consumers.uvicorn_protocol import WebSocketProtocol
from session_mgmt.uvicorn import find_class
from tests.benchmarks import wire
from tests.walks.uvicorn_way import Transport, build_config

MOST = 1000
PATH = settings().websocket_path
BAD_UTF8, TOO_BIG, POLICY = 1007, 1009, 1008


@dataclass
class Seen:
    """What a side of a connection was told."""

    messages: list[str | None] = field(default_factory=list)
    code: int | None = None
    written: bytes = b""
    ended: bool = False


Way = Callable[[Any, Any, Any, Seen], Any]


async def ask(protocol: Any, receive: Any, send: Any, seen: Seen) -> None:
    """Ask for one message after the other, as any ASGI application does."""
    while (event := await receive())["type"] == "websocket.receive":
        seen.messages.append(event.get("text"))
    seen.code = event["code"]


async def be_called(protocol: Any, receive: Any, send: Any, seen: Seen) -> None:
    """Take messages by callback, as the consumer does."""

    def take(payload: bytes | None) -> None:
        try:
            seen.messages.append(None if payload is None else payload.decode())
        except UnicodeDecodeError:
            protocol.fail(BAD_UTF8)

    seen.code = await protocol.take_frames(take)


class Side:
    """One connection of one class, opened as uvicorn's HTTP side opens it."""

    def __init__(self, kind: Any, way: Way, head: bytes | None = None, **options: Any) -> None:
        self.seen, self.transport, self._way = Seen(), Transport(), way
        self.opened = asyncio.get_running_loop().create_future()
        config = build_config(self._application, **{"ws_max_size": MOST, **options})
        self.state = ServerState()
        self.protocol = kind(config, self.state, {})
        self.protocol.connection_made(self.transport)
        self.protocol.data_received(head or wire.handshake(80, PATH, None))

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        self.answer, self.transport.written = self.transport.written, b""
        self.send = send
        self.opened.set_result(scope)
        await self._way(self.protocol, receive, send, self.seen)

    async def feed(self, *pieces: bytes) -> None:
        """Hand over pieces while the transport is read."""
        for piece in pieces:
            await self.transport.wait_until_read()
            if self.transport.ended:
                return
            self.protocol.data_received(piece)

    async def finish(self) -> Seen:
        """Lose the connection, and return what was seen."""
        await self.transport.wait_until_read()
        self.protocol.connection_lost(None)
        await asyncio.gather(*self.state.tasks)
        self.seen.written, self.seen.ended = self.transport.written, bool(self.transport.ended)
        return self.seen


async def play(kind: Any, way: Way, pieces: list[bytes]) -> Seen:
    side = Side(kind, way)
    await side.opened
    await side.feed(*pieces)
    return await side.finish()


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:stop] for start, stop in pairwise(places)]


def mask(payload: bytes, key: bytes) -> bytes:
    return bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))


def build(first: int, payload: bytes, key: bytes | None, wide: int = 0) -> bytes:
    """Build a frame by hand, with a length of 0, 2 or 8 more bytes than needed to tell it."""
    size, masked = len(payload), 0 if key is None else 0x80
    wide = max(wide, 0 if size < 126 else 2 if size < 65536 else 8)
    length = bytes((masked | {0: size, 2: 126, 8: 127}[wide],)) + (size.to_bytes(wide, "big") if wide else b"")
    return bytes((first,)) + length + (payload if key is None else key + mask(payload, key))


keys = st.binary(min_size=4, max_size=4)
texts = (
    st.text(max_size=200).map(str.encode) | st.binary(max_size=20) | st.just(b"x" * 300) | st.just(b"x" * (MOST + 1))
)
closes = st.sampled_from([b"", b"\x03", b"\x03\xe8", b"\x03\xe9bye", b"\x0f\xa0", b"\x00\x01", b"\x03\xe8\xff"])
usual = st.builds(build, st.just(0x81), texts, keys)
parts = st.builds(build, st.sampled_from([0x01, 0x00, 0x80, 0x02, 0x82]), texts, keys)
controls = st.builds(build, st.sampled_from([0x89, 0x8A]), st.binary(max_size=130), keys)
ends = st.builds(build, st.just(0x88), closes, keys)
odd = st.builds(build, st.integers(0, 255), st.binary(max_size=130), keys | st.none(), st.sampled_from([0, 2, 8]))
frames = st.lists(st.one_of(usual, usual, usual, parts, parts, controls, ends, odd), max_size=12)
WHOLE = build(0x81, b"{}", b"abcd")


@given(
    frames | st.binary(max_size=40).map(lambda data: [bytes((byte,)) for byte in data]),
    st.lists(st.integers(0, 3000), max_size=8),
)
@example([WHOLE] * 3 * LOT, [])
@example([build(0x01, b"a", b"abcd"), WHOLE], [3])
@example([build(0x01, b"a" * 900, b"abcd"), build(0x89, b"", b"abcd"), build(0x80, b"b" * 200, b"abcd")], [])
@example([bytes((0x81, 0xFF)) + b"\xff" * 8], [])
@example([WHOLE, build(0x81, b"\xed\xa0\x80", b"abcd"), WHOLE], [])
@pytest.mark.parametrize("way", [ask, be_called])
def test_any_bytes_are_read_as_uvicorns_own_class_reads_them(way: Way, given: list[bytes], cuts: list[int]) -> None:
    async def compare() -> None:
        own = await play(WebSocketProtocol, way, cut(b"".join(given), cuts))
        # It drops the messages before a fault that come with it, so that its messages depend on the pieces.
        assert own == await play(WebSocketsSansIOProtocol, ask, given)

    asyncio.run(compare())


def build_head(path: str, **changed: str | None) -> bytes:
    given: dict[str, str | None] = {
        "host": "127.0.0.1",
        "upgrade": "websocket",
        "connection": "keep-alive, Upgrade",
        "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
        "sec-websocket-version": "13",
        **{name.replace("_", "-"): value for name, value in changed.items()},
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items() if value is not None)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize(
    "head",
    [
        build_head("/elsewhere/"),
        build_head(PATH, sec_websocket_version="12"),
        build_head(PATH, sec_websocket_key="short"),
        build_head(PATH, sec_websocket_key=None),
        build_head(PATH, upgrade="h2c"),
        build_head(PATH).replace(b"GET", b"POST"),
        build_head(PATH, sec_websocket_protocol="a, b") + b"",
        build_head(PATH, sec_websocket_extensions="permessage-deflate; client_max_window_bits"),
        build_head(PATH + "?a=1%20b", origin="http://a.example"),
    ],
)
async def test_any_handshake_is_answered_as_uvicorns_own_class_answers_it(head: bytes) -> None:
    answers = []
    for kind in (WebSocketProtocol, WebSocketsSansIOProtocol):
        side = Side(kind, ask, head)
        if not side.transport.ended:
            scope = await side.opened
            answers.append((side.answer, {name: scope[name] for name in scope if name != "extensions"}))
            await side.feed(WHOLE)
            assert (await side.finish()).messages == ["{}"]
        else:
            answers.append((side.transport.written, None))
    own, theirs = answers
    assert own[1] == theirs[1]
    assert sorted(own[0].split(b"\r\n")) == sorted(theirs[0].split(b"\r\n"))


@pytest.mark.parametrize("sign", ["\x1b", "\n", "\r", "\x00"], ids=["escape", "LF", "CR", "NUL"])
@pytest.mark.requirement("ASVS 16.4.1")
async def test_a_handshake_with_control_characters_is_refused(sign: str) -> None:
    side = Side(WebSocketProtocol, ask, build_head(PATH, origin=f"http://a.example{sign}x-forwarded-proto: https"))
    assert side.transport.ended and side.transport.written.startswith(b"HTTP/1.1 400 ")
    assert not side.state.tasks


async def test_another_address_is_served_by_uvicorns_own_class_to_its_end() -> None:
    side = Side(WebSocketProtocol, ask, build_head("/elsewhere/"))
    await side.opened
    assert type(side.send.__self__) is WebSocketsSansIOProtocol
    assert side.state.connections == {side.send.__self__}
    await side.feed(build(0x81, b"one", b"abcd") + build(0x89, b"ping", b"abcd"))
    side.protocol.pause_writing()
    sending = asyncio.ensure_future(side.send({"type": "websocket.send", "text": "two"}))
    side.protocol.resume_writing()
    await sending
    seen = await side.finish()
    assert seen.messages == ["one"] and b"two" in seen.written and not side.state.connections


async def test_of_a_crowd_of_requests_so_many_reach_the_application_in_one_turn_of_the_loop() -> None:
    most = crowd().size.handshakes
    sides = [Side(WebSocketProtocol, ask) for _ in range(most + 3)]
    given = [len(side.state.tasks) for side in sides]
    assert given == [1] * most + [0] * 3
    gone, ending, *_ = sides[most:]
    # One whose client has left, and one whose server ends: nobody is left to be served.
    gone.protocol.connection_lost(None)
    ending.protocol.shutdown()
    crowd().requests._begin_turn()
    assert [len(side.state.tasks) for side in sides[most:]] == [0, 0, 1]
    assert b" 500 " in ending.transport.written and ending.transport.ended
    for side in (*sides[:most], sides[-1]):
        await side.opened
        assert (await side.finish()).code == 1005


@pytest.mark.parametrize("kind", [WebSocketProtocol, WebSocketsSansIOProtocol])
async def test_a_server_that_ends_closes_with_1012(kind: Any) -> None:
    side = Side(kind, ask)
    await side.opened
    for connection in list(side.state.connections):
        connection.shutdown()
    assert side.transport.written == build(0x88, (1012).to_bytes(2, "big"), None) and side.transport.ended
    assert (await side.finish()).code == 1012


@pytest.mark.parametrize("kind", [WebSocketProtocol, WebSocketsSansIOProtocol])
async def test_a_closed_connection_waits_for_the_peers_answer_and_takes_nothing_more(kind: Any) -> None:
    side = Side(kind, ask)
    await side.opened
    await side.send({"type": "websocket.close", "code": 4000, "reason": "bye"})
    await side.feed(WHOLE, build(0x89, b"", b"abcd"))
    assert not side.transport.ended
    with pytest.raises(RuntimeError):
        await side.send({"type": "websocket.send", "text": "late"})
    await side.feed(build(0x88, (4000).to_bytes(2, "big"), b"abcd"))
    assert side.transport.ended
    seen = await side.finish()
    assert (seen.code, seen.messages) == (4000, [])
    with pytest.raises(OSError):
        await side.send({"type": "websocket.send", "text": "late"})


async def test_a_frame_longer_than_the_limit_is_refused_by_its_header() -> None:
    side = Side(WebSocketProtocol, be_called)
    await side.opened
    side.protocol.limit_bytes(100)
    await side.feed(build(0x81, b"x" * 101, b"abcd")[:8])
    assert side.transport.ended and (await side.finish()).code == TOO_BIG


async def test_bytes_of_any_kind_count_until_the_limit_is_lifted() -> None:
    side = Side(WebSocketProtocol, be_called)
    await side.opened
    side.protocol.limit_bytes(100)
    for _ in range(20):
        await side.feed(build(0x8A, b"", b"abcd"))
    assert side.transport.ended == ["abort"] and (await side.finish()).code == TOO_BIG


async def test_every_frame_that_is_no_whole_message_is_counted() -> None:
    side = Side(WebSocketProtocol, be_called)
    await side.opened
    left = iter([True] * 4 + [False] * 9)
    side.protocol.count_hidden_frames(lambda: next(left))
    await side.feed(WHOLE * 3 + build(0x89, b"", b"abcd") + build(0x8A, b"", b"abcd"))
    await side.feed(build(0x01, b"{", b"abcd") + build(0x80, b"}", b"abcd"))
    assert not side.transport.ended
    await side.feed(build(0x89, b"", b"abcd"))
    seen = await side.finish()
    assert (seen.code, seen.messages, side.transport.ended[0]) == (POLICY, ["{}"] * 4, "abort")


async def test_a_paused_connection_reads_no_frame_that_has_arrived() -> None:
    taken: list[bytes | None] = []

    async def pause_at_two(protocol: Any, receive: Any, send: Any, seen: Seen) -> None:
        def take(payload: bytes | None) -> None:
            taken.append(payload)
            if len(taken) == 2:
                protocol.pause_reading()

        seen.code = await protocol.take_frames(take)

    side = Side(WebSocketProtocol, pause_at_two)
    await side.opened
    side.protocol.data_received(WHOLE * 5 + WHOLE[:3])
    side.protocol.data_received(WHOLE[3:])
    assert len(taken) == 2 and not side.transport.read.is_set()
    side.protocol.resume_reading()
    assert len(taken) == 6
    assert (await side.finish()).code == 1005


async def test_a_flood_of_frames_lets_others_have_their_turn() -> None:
    taken: list[int] = []

    async def note(protocol: Any, receive: Any, send: Any, seen: Seen) -> None:
        seen.code = await protocol.take_frames(lambda payload: taken.append(1))

    side = Side(WebSocketProtocol, note)
    await side.opened
    side.protocol.data_received(WHOLE * 3 * LOT)
    assert len(taken) == LOT and not side.transport.read.is_set()
    await side.finish()
    assert len(taken) == 3 * LOT


async def test_no_log_has_a_part_of_a_frame(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    side = Side(WebSocketProtocol, be_called)
    await side.opened
    await side.feed(WHOLE, build(0x89, b"secret", b"abcd"), build(0x01, b"sec", b"abcd") + build(0x80, b"ret", b"abcd"))
    assert (await side.finish()).messages == ["{}", "secret"]
    assert "sec" not in caplog.text


def test_a_version_without_what_the_class_needs_is_served_by_uvicorns_own(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert find_class() is WebSocketProtocol
    monkeypatch.setattr("session_mgmt.uvicorn.MADE_WITH", ["config"])
    assert find_class() is WebSocketsSansIOProtocol
    assert "at a higher cost" in caplog.text
