"""Clients over HTTP on a WSGI server whose two threads are fewer than they: no poll keeps one from the site."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from session_mgmt.client import SessionClient
from tests.http_peer import PATIENCE, HttpPeer
from tests.http_transports.other_server import OtherServer, enter, pick_topic, start_other

pytestmark = [pytest.mark.sqlite, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

CLIENTS = 10
# Ten polls that were held for so long on two threads would take longer than their clients wait.
LONG = 55.0


@pytest.fixture(scope="module")
def server(django_db_setup: None, django_db_blocker: Any) -> Iterator[OtherServer]:
    with start_other("gunicorn") as other:
        yield other


async def test_ten_clients_poll_on_two_threads_and_the_site_still_answers(server: OtherServer) -> None:
    async with server.open_http() as http:
        token = await enter(http)
        topic = pick_topic()
        tabs = [HttpPeer(http, token) for _ in range(CLIENTS)]
        await asyncio.gather(*(tab.attach({"topic:" + topic: None}) for tab in tabs))
        calls = [tab.call("poll/", tab.build_poll(LONG)) for tab in tabs]
        page, *answers = await asyncio.gather(http.get("/admin/login/"), *calls)
        assert page.status_code == 200
        assert [(answer.json()["frames"], answer.json()["next_in"]) for answer in answers] == [([], 3.0)] * CLIENTS
        streams = [tab.call("poll/", tab.build_poll(), Accept="text/event-stream") for tab in tabs]
        for refused in await asyncio.gather(*streams):
            assert (refused.status_code, refused.json()["name"]) == (406, "transport_unavailable")
        await tabs[0].exchange({"type": "publish", "seq": 1, "topic": topic, "data": "for all"})
        await asyncio.gather(*(tab.poll(LONG) for tab in tabs))
        assert [tab.entries["topic:" + topic][0][2] for tab in tabs] == ["for all"] * CLIENTS


async def test_a_client_finds_the_transport_that_is_left(server: OtherServer) -> None:
    topic, heard = pick_topic(), asyncio.Queue[Any]()
    async with asyncio.timeout(PATIENCE), SessionClient.start(server.url) as client:
        await client.topics.subscribe(topic, heard.put_nowait)
        await client.topics.publish(topic, "here")
        assert await heard.get() == "here"
        assert client.stats().transport == "longpoll"
