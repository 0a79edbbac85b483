"""Public test suites of JSON programs, sent in frames. A follower adds the entries up, as every client does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from session_mgmt.documents import operations, strict
from session_mgmt.documents.limits import Limits
from session_mgmt.documents.values import are_equal
from tests.documents.test_normalise import MERGES
from tests.suites import json_patch, parsing

LOG = "state:main"
REFUSALS = {"patch_failed", "invalid_patch", "invalid_path"}


class Follower:
    """Connection that follows the document and writes to it."""

    def __init__(self, peer: Any) -> None:
        self.peer = peer
        self.version = 0
        self._seq = 0
        self._document: Any = {}

    async def open(self, token: str) -> None:
        await self.peer.open(token, logs={LOG: None})
        await self.peer.until_type("snapshot")

    async def write(self, **change: Any) -> dict[str, Any]:
        """Send an update and give its receipt."""
        self._seq += 1
        await self.peer.say(type="update", seq=self._seq, **change)
        receipt: dict[str, Any] = await self.peer.receipt(self._seq)
        return receipt

    async def put(self, document: Any) -> None:
        assert (await self.write(data=document))["ok"]

    async def write_text(self, text: str) -> dict[str, Any]:
        """Send an update whose whole document is given as text; text that is no JSON uses up no number."""
        await self.peer.raw(f'{{"type":"update","seq":{self._seq + 1},"data":{text}}}')
        answer: dict[str, Any] = await self.peer.until(lambda frame: frame["type"] in ("receipt", "error"))
        self._seq += answer["type"] == "receipt"
        return answer

    def read(self) -> Any:
        """Add up the entries so far; an update's receipt never comes before its entry."""
        while self.peer.seen:
            frame = self.peer.seen.pop(0)
            if frame["type"] == "entries" and frame["log"] == LOG:
                for version, _, body in frame["entries"]:
                    assert version == self.version + 1
                    self.version = version
                    self._document = operations.apply_ops(self._document, body["ops"])
        return self._document


@pytest.fixture
async def follower(peers: Any, created: Any) -> Follower:
    made = Follower(peers())
    await made.open(created.token.secret)
    return made


async def test_json_patch_tests_pass_in_frames(follower: Follower, packages: Path) -> None:
    for case in json_patch.cases(packages):
        await follower.put(case.document)
        follower.read()
        version = follower.version
        receipt = await follower.write(patch=case.patch)
        assert receipt["ok"] is not case.fails, (case.name, receipt)
        assert are_equal(follower.read(), case.expected), case.name
        if case.fails:
            assert receipt["error"]["name"] in REFUSALS and not receipt["error"]["temporary"], case.name
            assert follower.version == version, case.name


async def test_the_merge_patches_of_rfc_7396_appendix_a_pass_in_frames(follower: Follower) -> None:
    for case in MERGES:
        await follower.put(case["document"])
        assert (await follower.write(merge=case["merge"]))["ok"], case["name"]
        assert are_equal(follower.read(), case["result"]), case["name"]


async def test_jsontestsuite_gets_its_verdicts_in_frames(follower: Follower, packages: Path) -> None:
    """Texts that are no UTF-8 are no text messages: the server's library refuses them (RFC 6455 section 8.1)."""
    for text in parsing.texts(packages):
        if text.name in parsing.BYTES:
            continue
        follower.read()
        version = follower.version
        answer = await follower.write_text(text.decoded)
        assert (answer["type"] == "receipt" and answer["ok"]) is text.accepted, (text.name, answer)
        if text.accepted:
            assert are_equal(follower.read(), strict.parse_json(text.raw, Limits(), 2**20)), text.name
        else:
            follower.read()
            assert follower.version == version, text.name
