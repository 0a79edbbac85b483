"""The demo's bad network: what it holds, what it resets, what it lets through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from project.demo.heads import Head
from project.demo.proxy import Network, Proxy, Streams, close_all
from tests.ports import take_port

PATIENCE = 120.0
# How long silence must last to count as held. Bytes that are wrongly passed on come within a millisecond.
SILENCE = 0.1


class Echo:
    """A server that answers each line, and keeps what it read."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.port: int | None = None
        self.writers: list[asyncio.StreamWriter] = []

    def die(self) -> None:
        for writer in self.writers:
            writer.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"hello\n")
        while line := await reader.readline():
            self.lines.put_nowait(line)
            writer.write(b"echo " + line)
        writer.close()

    async def connect(self, head: Head) -> Streams | None:
        return await asyncio.open_connection("127.0.0.1", self.port) if self.port else None


@asynccontextmanager
async def proxied() -> AsyncIterator[tuple[Network, Echo, Callable[[str], Awaitable[Streams]]]]:
    network, echo = Network(), Echo()
    echo.port = take_port()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", echo.port)

    async def control(head: Head, reader: asyncio.StreamReader) -> bytes:
        return b"HTTP/1.1 200 OK\r\n\r\ncontrol"

    proxy = Proxy(network, control_path="/control/", connect=echo.connect, control=control)
    port = await proxy.start("127.0.0.1", take_port())

    browsers: list[asyncio.StreamWriter] = []

    async def browse(path: str) -> Streams:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        browsers.append(writer)
        writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return reader, writer

    try:
        async with asyncio.timeout(PATIENCE):
            yield network, echo, browse
    finally:
        await proxy.stop()
        await close_all(*echo.writers, *browsers)
        server.close()


async def is_silent(reader: asyncio.StreamReader) -> bool:
    try:
        await asyncio.wait_for(reader.read(1), SILENCE)
    except TimeoutError:
        return True
    return False


async def test_bytes_pass_both_ways() -> None:
    async with proxied() as (_, _, browse):
        reader, writer = await browse("/client/one/")
        assert await reader.readline() == b"hello\n"
        writer.write(b"a\n")
        assert await reader.readline() == b"echo a\n"


async def test_a_cut_holds_both_directions_of_one_client_and_closes_nothing() -> None:
    async with proxied() as (network, echo, browse):
        (one, to_one), (two, to_two) = await browse("/client/one/"), await browse("/client/two/")
        await one.readline(), await two.readline()
        network.cut(["one"])
        to_one.write(b"held\n")
        to_two.write(b"passes\n")
        assert await two.readline() == b"echo passes\n"
        assert await is_silent(one) and await echo.lines.get() == b"passes\n" and echo.lines.empty()


async def test_mending_resets_what_was_held() -> None:
    async with proxied() as (network, echo, browse):
        reader, writer = await browse("/client/one/")
        await reader.readline()
        network.cut(["one"])
        writer.write(b"lost\n")
        assert await is_silent(reader)
        network.mend(["one"])
        with pytest.raises(ConnectionResetError):
            await reader.readline()
        assert echo.lines.empty()


async def test_a_connection_begun_during_the_cut_goes_on_after_it() -> None:
    async with proxied() as (network, _, browse):
        network.cut(["one"])
        reader, _ = await browse("/client/one/")
        assert await is_silent(reader)
        network.mend(["one"])
        assert await reader.readline() == b"hello\n"


async def test_control_is_answered_while_everything_is_cut() -> None:
    async with proxied() as (network, _, browse):
        network.cut(["one", "two"])
        reader, _ = await browse("/control/status")
        assert (await reader.read()).endswith(b"control")


async def test_answers_that_are_held_are_dropped_after_the_requests_arrived() -> None:
    async with proxied() as (network, echo, browse):
        reader, writer = await browse("/client/one/")
        await reader.readline()
        network.hold_answers(echo.port)
        writer.write(b"unanswered\n")
        assert await echo.lines.get() == b"unanswered\n"
        network.drop_answers()
        with pytest.raises(ConnectionResetError):
            await reader.readline()


async def test_the_death_of_the_server_does_not_pass_a_cut() -> None:
    async with proxied() as (network, echo, browse):
        reader, _ = await browse("/client/one/")
        await reader.readline()
        network.cut(["one"])
        assert echo.port is not None
        network.hold_answers(echo.port)
        echo.die()
        network.drop_answers()
        assert await is_silent(reader)


async def test_without_a_server_the_answer_is_to_come_back() -> None:
    async with proxied() as (_, echo, browse):
        echo.port = None
        reader, _ = await browse("/")
        assert (await reader.readline()).startswith(b"HTTP/1.1 503")
