"""A refused write must not count as one that was carried out: the figures would be of work that nobody did."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from tests.benchmarks.dialects import Ours
from tests.benchmarks.guests import Guest

REFUSED = b'{"type":"receipt","seq":1,"ok":false,"error":{"name":"busy","temporary":true,"retry_after":0.001}}'
REFUSED_FOR_GOOD = b'{"type":"receipt","seq":1,"ok":false,"error":{"name":"forbidden","temporary":false}}'
ACCEPTED = b'{"type":"receipt","seq":1,"ok":true}'


class Written:
    """Way of a guest that keeps what it was given; ``again`` is done once that is two frames."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.again = asyncio.get_running_loop().create_future()

    def send(self, frame: bytes) -> None:
        self.frames.append(frame)
        if len(self.frames) == 2:
            self.again.set_result(None)

    def cut(self) -> None:
        raise AssertionError("nobody leaves")


def visit() -> tuple[Ours, Guest, Written, list[Guest]]:
    dialect = Ours()
    guest, answers = Guest(dialect, 0, "token", "state:main"), list[Guest]()
    guest.visit = way = Written()
    guest.on_answer = answers.append
    guest.write(dialect.change(guest, 7))
    return dialect, guest, way, answers


def test_a_write_that_is_refused_for_now_goes_again_and_is_answered_once() -> None:
    async def write() -> None:
        dialect, guest, way, answers = visit()
        dialect.hear(guest, REFUSED)
        assert answers == []
        await asyncio.wait_for(way.again, 60)
        assert way.frames[0] == way.frames[1]
        dialect.hear(guest, ACCEPTED)
        dialect.hear(guest, ACCEPTED)
        # Of a frame that went again: the client has confirmed the receipt by then.
        dialect.hear(guest, REFUSED_FOR_GOOD)
        assert answers == [guest]

    asyncio.run(write())


def test_a_guest_confirms_only_receipts_that_it_has() -> None:
    async def write() -> None:
        dialect, guest, way, _ = visit()
        dialect.hear(guest, b'{"type":"ping","ping":1,"rtt_ms":null}')
        dialect.hear(guest, ACCEPTED)
        dialect.hear(guest, b'{"type":"ping","ping":2,"rtt_ms":null}')
        assert [orjson.loads(frame)["acked"] for frame in way.frames[1:]] == [0, 1]

    asyncio.run(write())


def test_a_write_that_is_refused_for_good_ends_the_run() -> None:
    async def write() -> None:
        dialect, guest, _, answers = visit()
        with pytest.raises(ValueError, match="forbidden"):
            dialect.hear(guest, REFUSED_FOR_GOOD)
        assert answers == []

    asyncio.run(write())
