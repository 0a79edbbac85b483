"""What stands in the database and cannot be read: refused everywhere, and never an empty document."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
import zstandard

from session_mgmt.documents import codec, errors
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import StateDocument, StateSnapshot
from session_mgmt.shortcuts import state
from tests.api.calls import refused
from tests.bad_input.held import Held

pytestmark = pytest.mark.django_db(transaction=True)

MAIN = "sessions/{id}/state/main/"
BOMB_BYTES = 200 * 1024 * 1024


def bomb() -> bytes:
    """A frame that states 200 MB and holds them, in some thousand bytes."""
    compressor = zstandard.ZstdCompressor(level=1).compressobj(size=BOMB_BYTES)
    piece = b"0" * 2**20
    return b"".join([*(compressor.compress(piece) for _ in range(BOMB_BYTES // len(piece))), compressor.flush()])


def liar() -> bytes:
    """A frame that states 200 MB, and holds nothing."""
    return bomb()[:18]


@pytest.fixture(autouse=True)
def no_traceback() -> None:
    """Let damage be logged as an error: somebody must repair it."""


@pytest.fixture
def bombed(held: Held) -> Held:
    state.compress(held.session)
    StateSnapshot.objects.update(codec=codec.ZSTD, body=bomb())
    return held


def test_the_bomb_states_its_size() -> None:
    packed = bomb()
    assert len(packed) < 100_000
    assert zstandard.frame_content_size(packed) == BOMB_BYTES


@pytest.mark.requirement("ASVS 5.2.3")
def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    packed = bomb()
    tracemalloc.start()
    try:
        with pytest.raises(errors.UnreadableBody):
            codec.decode_body(codec.ZSTD, packed, 10 * 1024 * 1024)
        assert tracemalloc.get_traced_memory()[1] < BOMB_BYTES / 10
    finally:
        tracemalloc.stop()


def test_a_bomb_is_unreadable_over_rest(bombed: Held) -> None:
    for path in ("", "history/1/", "diff/?from=1&to=1"):
        assert refused(bombed.token.get(MAIN + path), "state_unreadable", 503)


CALLS: list[tuple[str, str, Any]] = [
    ("POST", "sync/", {}),
    ("POST", "restore/", {"version": 1}),
    ("PATCH", "", {"patch": [{"op": "test", "path": "/n", "value": 1}]}),
    ("POST", "persist/", {}),
]


def test_nothing_is_made_of_a_bomb(bombed: Held) -> None:
    for method, end, body in CALLS:
        assert refused(bombed.token.call(method, MAIN + end, body), "state_unreadable", 503)
    assert StateDocument.objects.get(session=bombed.session).version == 1


def test_a_bomb_is_unreadable_from_python(bombed: Held) -> None:
    with pytest.raises(StateUnreadable):
        state.get(bombed.session)
    StateSnapshot.objects.update(body=liar())
    with pytest.raises(StateUnreadable):
        state.get(bombed.session)


async def test_a_bomb_gives_no_snapshot_to_a_socket_that_lives_on(bombed: Held, peers: Any) -> None:
    one = peers()
    await one.open(bombed.token.token, logs={"state:main": None})
    error = await one.until_type("error")
    assert (error["name"], error["temporary"]) == ("state_unreadable", True)
    await one.say(type="publish", seq=1, topic="room:1", data=1)
    assert (await one.receipt(1))["ok"]
    assert not [frame for frame in one.seen if frame["type"] == "snapshot"]
