"""What only a real server sees: bytes that are no frame, bodies in pieces, lengths that lie."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from websockets.frames import Frame, Opcode

from session_mgmt.bridge import bridge
from tests.bad_input.held import Held
from tests.bad_input.serving import served

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite]

LIMIT = 5 * 1024 * 1024
PATIENCE = 60.0


@pytest.fixture
def small_limits(settings: Any) -> None:
    """The limits as they are by default."""
    settings.SESSION_MGMT = {}


@pytest.fixture(params=["websockets-sansio", "session_mgmt.uvicorn:WebSocketProtocol"])
async def port(held: Held, request: pytest.FixtureRequest) -> AsyncIterator[int]:
    async with served(request.param) as port:
        yield port


async def exchange(port: int, head: str, *pieces: bytes) -> tuple[int, dict[str, Any]]:
    """One request over a socket of its own, as it stands here; the answer's status and JSON."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
        answer = await asyncio.wait_for(_answer(reader, writer), PATIENCE)
    finally:
        writer.close()
    return answer


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, dict[str, Any]]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    body = await reader.readexactly(length)
    assert "content-type: application/json" in head, head
    return int(head.split(" ")[1]), json.loads(body)


def request(held: Held, method: str = "PUT", *headers: str) -> str:
    address = f"/api/sessions/{held.session.pk}/state/main/"
    lines = [f"{method} {address} HTTP/1.1", "Host: testserver", f"Authorization: Bearer {held.token.token}"]
    return "\n".join([*lines, "Content-Type: application/json", *headers])


def document(size: int) -> bytes:
    """A document of exactly so many bytes, in strings below their limit."""
    item = b'"' + b"s" * 499_998 + b'"'
    whole = [item] * ((size - 2) // (len(item) + 1))
    rest = size - 2 - sum(map(len, whole)) - len(whole)
    return b"[" + b",".join([*whole, b'"' + b"r" * (rest - 2) + b'"']) + b"]"


@pytest.mark.parametrize("size", [3_000_000, LIMIT])
async def test_a_large_document_within_the_limit_is_kept(held: Held, port: int, size: int) -> None:
    body = document(size)
    status, told = await exchange(port, request(held, "PUT", f"Content-Length: {len(body)}"), body)
    assert (status, told["position"][1]) == (200, 2)
    assert await bridge().read(held.document) == json.loads(body)


async def test_one_byte_more_is_refused(held: Held, port: int) -> None:
    body = document(LIMIT + 1)
    before = await bridge().read(held.everything)
    status, told = await exchange(port, request(held, "PUT", f"Content-Length: {len(body)}"), body)
    assert (status, told["name"]) == (413, "document_too_large")
    assert await bridge().read(held.everything) == before


def chunks(body: bytes, size: int = 65_536) -> list[bytes]:
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    return [*(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces), b"0\r\n\r\n"]


async def test_a_body_in_pieces_is_read_without_a_length(held: Held, port: int) -> None:
    body = document(1_000_000)
    status, told = await exchange(port, request(held, "PUT", "Transfer-Encoding: chunked"), *chunks(body))
    assert (status, told.get("position", told)[1]) == (200, 2)
    assert await bridge().read(held.document) == json.loads(body)


async def test_a_body_in_pieces_ends_at_the_limit(held: Held, port: int) -> None:
    before = await bridge().read(held.everything)
    head = request(held, "PUT", "Transfer-Encoding: chunked")
    status, told = await exchange(port, head, *chunks(document(LIMIT + 200_000)))
    assert (status, told["name"]) == (413, "document_too_large")
    assert await bridge().read(held.everything) == before


async def test_an_empty_body_in_pieces_is_no_json(held: Held, port: int) -> None:
    status, told = await exchange(port, request(held, "PUT", "Transfer-Encoding: chunked"), *chunks(b""))
    assert (status, told["name"]) == (400, "invalid_json")


async def test_a_client_that_promises_more_than_it_sends_changes_nothing(held: Held, port: int) -> None:
    before = await bridge().read(held.everything)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request(held, "PUT", "Content-Length: 1000").replace("\n", "\r\n").encode() + b'\r\n\r\n{"a":1}')
    writer.write_eof()
    assert b"HTTP/1.1 200" not in await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    status, told = await exchange(port, request(held, "GET"))
    assert (status, told["version"]) == (200, 1)
    assert await bridge().read(held.everything) == before


async def connected(held: Held, port: int) -> Any:
    address = f"ws://127.0.0.1:{port}/ws/session/"
    options: dict[str, Any] = {"compression": None, "open_timeout": PATIENCE}
    socket = await websockets.connect(address, subprotocols=["session-mgmt.v1"], **options)  # type: ignore[list-item]
    await socket.send(json.dumps({"type": "connect", "token": held.token.token}))
    assert json.loads(await socket.recv())["type"] == "connected"
    return socket


async def test_a_frame_over_our_limit_is_refused_under_its_number(held: Held, port: int) -> None:
    socket = await connected(held, port)
    frame = {"type": "update", "seq": 1, "merge": {"a": "s" * 300_000}}
    for replayed in (None, True):
        await socket.send(json.dumps(frame))
        receipt = json.loads(await socket.recv())
        assert (receipt["error"]["name"], receipt["seq"]) == ("frame_too_large", 1)
        assert receipt.get("replayed") is replayed
    # As the SDKs write it, and in fewer characters than bytes.
    await socket.send('{"type":"update","merge":{"a":"' + "é" * 200_000 + '"},"seq":2}')
    assert json.loads(await socket.recv())["error"]["name"] == "frame_too_large"
    await socket.send(json.dumps({"type": "update", "seq": 3, "merge": {"a": 1}}))
    assert json.loads(await socket.recv())["ok"]
    await socket.close()


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        ([Frame(Opcode.TEXT, b'{"type":"ping","id":"\xff"}')], 1007),
        ([Frame(Opcode.TEXT, b'"\xed\xa0\x80"')], 1007),
        ([Frame(Opcode.TEXT, b" " * (17 * 2**20))], 1009),
        ([Frame(Opcode.TEXT, b" " * (9 * 2**20), fin=False), Frame(Opcode.CONT, b" " * (9 * 2**20))], 1009),
        ([Frame(Opcode.BINARY, b"\x00\x01")], 4500),
        ([Frame(Opcode.CONT, b"x")], 1002),
    ],
    ids=["bad UTF-8", "surrogate", "17 MB", "18 MB in two", "binary", "continuation"],
)
async def test_what_is_no_frame_closes_one_connection(held: Held, port: int, frames: list[Frame], code: int) -> None:
    one, other = await connected(held, port), await connected(held, port)
    for frame in frames:
        one.transport.write(frame.serialize(mask=True))
    with pytest.raises(websockets.ConnectionClosed) as closed:
        while True:
            await asyncio.wait_for(one.recv(), PATIENCE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
    await other.send(json.dumps({"type": "update", "seq": 1, "merge": {"a": 1}}))
    assert json.loads(await other.recv())["ok"]
    await other.close()
