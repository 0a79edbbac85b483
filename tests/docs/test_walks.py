"""The walks of docs/topics/architecture.md pass through the files that the page lists, in that order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction

from session_mgmt.bridge import bridge
from session_mgmt.bridge.crossing import replace_bridge
from session_mgmt.consumers.hub import hub
from session_mgmt.shortcuts import publish
from session_mgmt.writes import verbs
from tests.admin.conftest import seen_on
from tests.docs.pages import ROOT
from tests.scaffold.strangers import read_walks
from tests.walks.trace import PACKAGE, Trace

PAGE = (ROOT / "docs" / "topics" / "architecture.md").read_text(encoding="utf-8")
MAIN, ROOM = "state:main", "topic:room:1"


WALKS = read_walks(PAGE)
TAKEN = {
    "A patch from a browser",
    "A heartbeat",
    "A publication inside a transaction",
    "A reconnect",
    "A restore in the admin",
}


@pytest.fixture
def trace() -> Iterator[Trace]:
    """Give the process a bridge of its own, so that its threads start under the trace."""
    trace = Trace()
    trace.install()
    before = replace_bridge(None)
    yield trace
    trace.remove()
    bridge().close()
    replace_bridge(before)


def assert_walked(title: str, trace: Trace) -> None:
    missing = trace.find_missing(WALKS[title])
    assert missing is None, f"{missing} was not called in this place of the walk; called: {trace.files}"


def test_every_walk_of_the_page_is_taken() -> None:
    assert set(WALKS) == TAKEN


@pytest.mark.parametrize("title", WALKS)
def test_the_files_of_a_walk_exist(title: str) -> None:
    assert [file for file in WALKS[title] if not (ROOT / PACKAGE / file).exists()] == []


async def test_a_patch_passes_through_the_files_of_the_page(trace: Trace, peers: Any, created: Any) -> None:
    one, two = peers(), peers()
    for peer in (one, two):
        await peer.open(created.token.secret, logs={MAIN: None})
        await peer.until_type("snapshot")
    with trace:
        await one.say(type="update", seq=1, ops=[["set", "/cart/coupon", "WELCOME"]], base=0)
        await one.receipt(1)
        await two.entry(MAIN)
    assert_walked("A patch from a browser", trace)


async def test_a_heartbeat_passes_through_the_files_of_the_page(
    trace: Trace, peers: Any, created: Any, settings: Any
) -> None:
    settings.SESSION_MGMT = {"heartbeat_interval": 0.3, "lease_flush_interval": 0.5, "control_interval": 3600.0}
    peer = peers()
    await peer.open(created.token.secret)
    with trace:
        # The third ping comes after a flush.
        for _ in range(3):
            ping = await peer.until_type("ping")
            await peer.say(type="pong", ping=ping["ping"], acked=0)
    assert_walked("A heartbeat", trace)


async def test_a_publication_passes_through_the_files_of_the_page(trace: Trace, peers: Any, created: Any) -> None:
    peer = peers()
    await peer.open(created.token.secret, logs={ROOM: None})
    await peer.until_following(ROOM)
    with trace:
        await bridge().call(_publish_in_a_transaction)
        await peer.entry(ROOM)
    assert_walked("A publication inside a transaction", trace)


def _publish_in_a_transaction() -> None:
    with transaction.atomic():
        publish("room:1", 1)


async def test_a_reconnect_passes_through_the_files_of_the_page(trace: Trace, peers: Any, created: Any) -> None:
    first, second = peers(), peers()
    connected = await first.open(created.token.secret, logs={ROOM: None, MAIN: None})
    positions = {name: verdict["position"] for name, verdict in connected["logs"].items()}
    await first.drop()
    await bridge().read(verbs.publish, "room:1", 1)
    await bridge().read(verbs.update, created.session.pk, "main", "merge", {"a": 1})
    # The answers about its topics are kept for some seconds.
    hub().arrivals.grants.forget(created.session.pk)
    with trace:
        await second.open(created.token.secret, client_id=connected["client_id"], logs=positions)
        await second.until_type("recovery")
        await hub().late_writes.flush()
    assert_walked("A reconnect", trace)


@pytest.mark.django_db(transaction=True)
def test_a_restore_passes_through_the_files_of_the_page(trace: Trace, operator: Any, paper: Any) -> None:
    seen = seen_on(operator.get(paper.at("compare"), {"from": 1}).content.decode())
    with trace:
        operator.post(paper.at("restore"), {"to": 1, "seen": seen})
    assert paper.data["cart"]["coupon"] == "WELCOME"
    assert_walked("A restore in the admin", trace)
