"""Options and callbacks that cannot be are refused at the call, before anything is sent."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from session_mgmt.client import Sync, SyncSessionClient
from session_mgmt.client.options import check_documents, check_url
from session_mgmt.client.session import SessionClient
from tests.client.fake_server import FakeServer, fake_server
from tests.client.test_session import joined

pytestmark = pytest.mark.sqlite

URL = "https://shop.test/api/"
WRONG = [
    *({"url": url} for url in (5, None, "", "/api/", "shop.test/api/", "127.0.0.1:8000/api/", "ftp://shop.test/")),
    *({"url": url} for url in ("wss://shop.test/", "https://", URL + "?page=1", URL + "#top", "https://[/api/")),
    *({"documents": names} for names in ("main", b"main", 5, None, [5], ["main", None])),
    *({"token": token} for token in ("", 5, b"sma_1")),
    *({"strategy": strategy} for strategy in ("", "newest", 5)),
    *({"sync": sync} for sync in ("delayed", True, 0.2)),
    *({"storage": storage} for storage in ("", 5, True, object(), SimpleNamespace(load=print, save=print))),
    *({"headers": headers} for headers in ("Token 1", 5, [1], {"a": 5}, {"a": "1\n"}, {"a\r": "1"})),
    *({name: value} for name in ("metadata", "config") for value in (5, "{}", [], {"a": object()}, {"a": math.nan})),
    *({"label": label} for label in (5, b"kitchen")),
    *({"transports": names} for names in ((), "websocket", ["carrier pigeon"])),
    *({"on_message": callback} for callback in (5, "print")),
    *({"listeners": listeners} for listeners in (5, print, {"status": None}, {"status": "print"})),
    *({"listeners": {event: print}} for event in ("nosuch", "conected", "message", "", 5, None)),
    {"on_ask": "claim"},
]


def name_option(options: dict[str, Any]) -> str:
    return next(iter(options))


async def wait_for(value: Any) -> None:
    raise AssertionError("It is never awaited.")


@pytest.mark.parametrize(
    "options", [*WRONG, {"on_message": wait_for}, {"listeners": {"status": wait_for}}], ids=name_option
)
def test_an_option_that_cannot_be_is_refused_at_the_call(options: dict[str, Any]) -> None:
    name = name_option(options)
    given: dict[str, Any] = {"url": URL, "token": "sma_test", **options}
    with pytest.raises((ValueError, TypeError), match=rf"^{name} |callback|^event "):
        SessionClient.start(**given)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "5", True])
def test_a_wrong_timeout_starts_no_thread(timeout: Any) -> None:
    with pytest.raises(ValueError, match="timeout is a number"):
        SyncSessionClient(URL, timeout=timeout)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, "0.2", None, True])
@pytest.mark.parametrize("name", ["delay", "max_delay"])
def test_a_wrong_delay_is_refused(name: str, seconds: Any) -> None:
    with pytest.raises(ValueError, match=f"^{name} is a number"):
        Sync("delayed", **{name: seconds})


def test_addresses_and_names_are_taken_in_their_usual_forms() -> None:
    assert {check_url(url) for url in (URL, URL[:-1], URL + "//")} == {URL}
    assert check_url("http://[::1]:8000/api") == "http://[::1]:8000/api/"
    assert check_documents(name for name in ("main", "prefs")) == ("main", "prefs")
    assert check_documents([]) == ()


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with fake_server() as running:
        yield running


async def test_what_cannot_be_called_back_is_refused_where_it_is_given(server: FakeServer) -> None:
    client, _ = await joined(server)
    for wrong in (5, None, wait_for):
        given: Any = wrong
        with pytest.raises(TypeError, match="A callback is a plain function"):
            client.on("status", given)
        with pytest.raises(TypeError, match="A callback is a plain function"):
            client.on_message(given)
        with pytest.raises(TypeError, match="A callback is a plain function"):
            client.state.on("/cart", given)
        with pytest.raises(TypeError, match="A callback is a plain function"):
            await client.topics.subscribe("orders:42", given)
    with pytest.raises(TypeError, match="A callback is a plain function"):
        await client.topics.subscribe("orders:42", print, snapshot=wait_for)
    await client.close()
