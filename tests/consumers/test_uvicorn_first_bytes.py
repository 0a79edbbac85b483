"""Opening requests that pass by the HTTP class of uvicorn beside others: the same application, the same answers."""

from __future__ import annotations

import asyncio
import re
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from session_mgmt.conf import settings
from session_mgmt.consumers.pacing import crowd
from session_mgmt.consumers.uvicorn_first_bytes import MOST_WAITING, FirstBytes
from session_mgmt.consumers.uvicorn_protocol import WebSocketProtocol
from tests.walks.uvicorn_way import Transport, build_config

PATH = settings().websocket_path
NEEDED = [
    b"Host: 127.0.0.1",
    b"Upgrade: websocket",
    b"Connection: keep-alive, Upgrade",
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    b"Sec-WebSocket-Version: 13",
]
PLAIN = b"\r\n".join([f"GET {PATH}?a=%20b HTTP/1.1".encode(), *NEEDED, b"", b""])
ODD = [
    b"Connection: close",
    b"Content-Length: 2",
    b"Content-Length: 2\r\nContent-Length: 3",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: chunked, gzip",
    b"Expect: 100-continue",
    b"Host: other.example",
    b"Upgrade: h2c",
    b"Origin:http://a.example\t ",
    b"Origin : http://a.example",
    b" folded",
    b"X-Empty:",
    b": nameless",
    b"X-\xe9: name",
    b"X-Value: \xe9\xff",
    b"X-Lone: a\nX-Next: b",
    b"X-Lone: a\rX-Next: b",
    b"no colon",
    b"Sec-WebSocket-Protocol: a, b",
    b"X-Forwarded-For: 192.0.2.1",
]
FIRST = [
    f"GET {PATH} HTTP/1.1",
    f"GET {PATH}?token=a%20b&c HTTP/1.1",
    f"GET {PATH}#part HTTP/1.1",
    f"GET {PATH}%2e HTTP/1.1",
    f"GET http://127.0.0.1{PATH} HTTP/1.1",
    f"GET {PATH} HTTP/1.0",
    f"GET  {PATH} HTTP/1.1",
    f"get {PATH} HTTP/1.1",
    f"POST {PATH} HTTP/1.1",
    "GET /elsewhere/ HTTP/1.1",
    "GET * HTTP/1.1",
]
# A masked text, a second request, and a beginning of one.
BEHIND = [b"", b"", b"\x81\x82abcd\x1a\x1f", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"GE", b"\r\n"]


class Connection:
    """One connection to a server whose connections begin with a class."""

    def __init__(self, make: Any, **options: Any) -> None:
        self.scopes: list[dict[str, Any]] = []
        self.state, self.transport = ServerState(), Transport(("192.0.2.7", 4711))
        fixed = {"limit_concurrency": None, "timeout_keep_alive": 5, "reset_contextvars": False}
        self.config = build_config(self._application, ws_protocol_class=WebSocketProtocol, **fixed, **options)
        self.transport.protocol = make(config=self.config, server_state=self.state, app_state={}, _loop=None)
        self.transport.protocol.connection_made(self.transport)

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close"})
        else:
            await send({"type": "http.response.start", "status": 204})
            await send({"type": "http.response.body"})

    async def take(self, pieces: list[bytes]) -> tuple[Any, ...]:
        """Take bytes until the server closes, and tell everything that follows from them."""
        for piece in pieces:
            if not self.transport.ended:
                self.transport.protocol.data_received(piece)
            while self.state.tasks:
                await asyncio.gather(*self.state.tasks)
        there = [type(one).__name__ for one in self.state.connections]
        self.transport.protocol.connection_lost(None)
        # The library of uvicorn's class tells the time, and that may be another second.
        written = re.sub(rb"\r\nDate: [^\r]*", b"", self.transport.written)
        return self.scopes, written, self.transport.ended[:1], there, self.state.connections


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(place % (len(data) + 1) for place in cuts)})
    return [data[start:stop] for start, stop in pairwise(places)]


def change(data: bytes, place: int, byte: int) -> bytes:
    at = place % len(data)
    return data[:at] + bytes((byte,)) + data[at + 1 :]


lines = st.permutations(NEEDED).flatmap(
    lambda needed: st.tuples(st.integers(3, 5), st.lists(st.sampled_from(ODD), max_size=2)).map(
        lambda drawn: needed[: drawn[0]] + drawn[1]
    )
)
heads = st.builds(
    lambda first, headers, behind: b"\r\n".join([first.encode(), *headers, b"", behind]),
    st.sampled_from(FIRST),
    lines,
    st.sampled_from(BEHIND),
) | st.builds(change, st.just(PLAIN), st.integers(0, len(PLAIN)), st.integers(0, 255))


async def compare(pieces: list[bytes], root: str = "") -> None:
    own = Connection(partial(FirstBytes, HttpToolsProtocol), root_path=root)
    theirs = Connection(HttpToolsProtocol, root_path=root)
    assert await own.take(pieces) == await theirs.take(pieces)


@given(heads, st.lists(st.integers(0, 400), max_size=2) | st.just([]), st.sampled_from(["", "/root"]))
@example(PLAIN, [], "/root")
@example(PLAIN + BEHIND[2], [len(PLAIN)], "")
def test_any_first_bytes_have_the_same_answer_with_uvicorns_http_class_alone(
    head: bytes, cuts: list[int], root: str
) -> None:
    asyncio.run(compare(cut(head, cuts), root))


@pytest.mark.parametrize("behind", BEHIND[1:])
async def test_each_odd_header_has_the_same_answer_with_uvicorns_http_class_alone(behind: bytes) -> None:
    for odd in ODD:
        await compare([PLAIN[:-2] + odd + b"\r\n\r\n" + behind])


def refuse(**made_with: Any) -> Any:
    raise AssertionError("uvicorn's HTTP class was made")


async def test_a_plain_opening_request_does_not_pass_uvicorns_http_class() -> None:
    connection = Connection(partial(FirstBytes, refuse))
    scopes, written, *_ = await connection.take([PLAIN])
    assert [(scope["type"], scope["query_string"]) for scope in scopes] == [("websocket", b"a=%20b")]
    assert written.startswith(b"HTTP/1.1 101 ")


async def test_a_connection_that_has_sent_nothing_counts_and_ends_with_the_server() -> None:
    connection = Connection(partial(FirstBytes, refuse))
    (silent,) = connection.state.connections
    silent.shutdown()
    assert connection.transport.ended == ["close"]
    silent.connection_lost(None)
    assert not connection.state.connections


async def test_a_request_of_a_crowd_is_read_in_its_turn_and_other_requests_at_once() -> None:
    crowd_of = [Connection(partial(FirstBytes, HttpToolsProtocol)) for _ in range(crowd().size.handshakes + 5)]
    for connection in crowd_of:
        connection.transport.protocol.data_received(PLAIN)
    first, waiting = crowd_of[:-5], crowd_of[-5:]
    assert [len(connection.state.tasks) for connection in crowd_of] == [1] * len(first) + [0] * 5
    gone, ending, longer, *_ = waiting
    gone.transport.protocol.connection_lost(None)
    ending.transport.protocol.shutdown()
    # Bytes behind a request are for uvicorn's class, which does not wait.
    longer.transport.protocol.data_received(BEHIND[3])
    assert type(longer.transport.protocol) is not FirstBytes
    elsewhere, large = (Connection(partial(FirstBytes, HttpToolsProtocol)) for _ in range(2))
    elsewhere.transport.protocol.data_received(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert len(elsewhere.state.tasks) == 1
    # Otherwise each of a hostile crowd could have the server keep as many bytes as one read takes.
    large.transport.protocol.data_received(PLAIN[:-2] + b"X: %b\r\n\r\n" % (b"x" * MOST_WAITING))
    assert type(large.transport.protocol) is not FirstBytes
    crowd().requests._begin_turn()
    kinds = [type(connection.transport.protocol) for connection in waiting]
    assert kinds == [FirstBytes, FirstBytes, WebSocketProtocol, WebSocketProtocol, WebSocketProtocol]
    opened = [(await connection.take([b""]))[1][:13] for connection in (*first, *waiting[2:])]
    assert opened == [b"HTTP/1.1 101 "] * (len(first) + 3)
    assert not gone.scopes and not ending.scopes and ending.transport.ended == ["close"]


async def test_the_first_websocket_of_a_server_lets_its_next_connections_begin_so() -> None:
    connection = Connection(HttpToolsProtocol, http_protocol_class=HttpToolsProtocol)
    await connection.take([PLAIN])
    begin = connection.config.http_protocol_class
    assert begin.func is FirstBytes and begin.args == (HttpToolsProtocol,)
    WebSocketProtocol(connection.config, connection.state, {})
    assert connection.config.http_protocol_class is begin


async def test_a_configuration_without_an_http_class_stays_as_it_is() -> None:
    config = SimpleNamespace(ws_max_size=1)
    WebSocketProtocol(config, ServerState(), {})
    assert vars(config) == {"ws_max_size": 1}
