"""A page that stays open over an upgrade: the server answers an earlier browser client as that client understands.

A file of ``dialogues/`` has what a client of an earlier commit sent, as it was recorded, and the fields that it reads.
The places and names in it were those of another server; they are replaced by what this one has told, as that client
would have done.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest
from django.contrib.auth import get_user_model
from django.test import AsyncClient

from tests.walks.conftest import BOTH_WAYS, Peer

DIALOGUES = sorted((Path(__file__).parent / "dialogues").glob("*.json"))
KINDS: dict[str, Any] = {"object": dict, "list": list, "text": str, "number": (int, float), "truth": bool}


class OldClient:
    """Client that says what was recorded, about the places that this server tells."""

    def __init__(self, session: dict[str, Any], reads: dict[str, dict[str, str]]) -> None:
        self.token = session["token"]
        self.reads = reads
        self.name: str | None = None
        self.places: dict[str, list[Any]] = {"session": session["positions"]["session"]}
        self.peer: Peer | None = None

    async def take(self) -> dict[str, Any]:
        """Read the next frame as the old client does."""
        assert self.peer
        frame = await self.peer.next()
        assert frame["type"] in self.reads, f"that client does not know {frame}"
        for field, kind in self.reads[frame["type"]].items():
            assert isinstance(frame[field], KINDS[kind]), (field, frame)
        if frame["type"] == "entries":
            self.take_entries(frame)
        elif frame["type"] == "snapshot":
            self.places[frame["log"]] = frame["position"]
        return frame

    def take_entries(self, frame: dict[str, Any]) -> None:
        """Go on by each entry; that client closes the connection if one does not follow on the last."""
        for offset, tag, _ in frame["entries"]:
            epoch, last, _ = self.places[frame["log"]]
            assert epoch == frame["epoch"] and offset <= last + 1, (frame, self.places)
            if offset == last + 1:
                self.places[frame["log"]] = [epoch, offset, tag]

    async def until(self, type_: str, **having: Any) -> dict[str, Any]:
        while True:
            frame = await self.take()
            if frame["type"] == type_ and all(frame.get(name) == value for name, value in having.items()):
                return frame

    def take_verdict(self, log: str, verdict: dict[str, Any]) -> None:
        if verdict["mode"] == "up_to_date":
            self.places[log] = verdict["position"]

    async def connect(self, said: dict[str, Any]) -> None:
        wanted = {log: place and self.places[log] for log, place in said["logs"].items()}
        assert self.peer
        await self.peer.handshake()
        await self.peer.say(**{**said, "token": self.token, "client_id": self.name, "logs": wanted})
        connected = await self.until("connected")
        assert self.name in (None, connected["client_id"])
        assert {"initial", "maximum", "factor", "attempts"} <= connected["retry"].keys()
        assert {"interval", "missed_limit", "deadline"} <= connected["heartbeat"].keys()
        assert connected["endpoints"]["websocket"]
        self.name = connected["client_id"]
        for log, place in wanted.items():
            verdict = connected["logs"][log]
            if place is None and verdict["mode"] == "entries":
                # "Everything" of a document begins before its first entry.
                self.places[log] = [verdict["position"][0], 0, ""]
            self.take_verdict(log, verdict)

    async def say(self, said: dict[str, Any]) -> None:
        assert self.peer
        if said["type"] == "subscribe":
            place = said["position"] and self.places[said["log"]]
            await self.peer.say(**{**said, "position": place})
            verdict = (await self.until("reply", id=said["id"]))["verdict"]
            return self.take_verdict(said["log"], verdict)
        if "base" in said:
            log = f"state:{said['doc']}"
            while self.places.get(log, ["", -1])[1] < said["base"]:
                await self.take()
            said = {**said, "epoch": self.places[log][0]}
        await self.peer.say(**said)
        if "seq" in said:
            receipt = await self.until("receipt", seq=said["seq"])
            assert receipt["ok"], receipt
            if (log := f"state:{said.get('doc')}") in self.places:
                # Its entry came before: that client shows the confirmed value when it has the receipt.
                assert receipt["position"][1] <= self.places[log][1]
        elif said["type"] == "publish":
            assert (await self.until("ephemeral", topic=said["topic"]))["data"] == said["data"]
        elif said["type"] == "ping":
            await self.until("pong", id=said["id"])


@BOTH_WAYS
@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
async def test_an_older_client_is_answered_as_it_understands(peers: Any, path: Path) -> None:
    recorded = orjson.loads(path.read_bytes())
    http = AsyncClient()
    await http.aforce_login(await get_user_model().objects.acreate_user("ada"))
    first, *later = recorded["calls"]
    made = await http.post(first["path"], first["body"], content_type="application/json")
    assert made.status_code == 201, made.content
    session = made.json()
    assert {"session", "token", "endpoints", "positions"} <= session.keys()
    client = OldClient(session, recorded["reads"])
    for said in recorded["connections"]:
        client.peer = peers()
        await client.connect(said[0])
        for frame in said[1:]:
            await client.say(frame)
        await client.peer.drop()
    answers = []
    for call in later:
        address = call["path"].replace("session-1", session["session"]["session_id"])
        body = call["body"] and orjson.dumps({**call["body"], "position": client.places["state:main"]})
        proof = {"Authorization": f"Bearer {client.token}"}
        answer = await http.generic(call["method"], address, body or b"", "application/json", headers=proof)
        assert answer.status_code == 200, answer.content
        answers.append(answer.json())
    synchronised, heads, document, history = answers
    assert (synchronised["mode"], synchronised["position"]) == ("up_to_date", client.places["state:main"])
    assert {head["name"] for head in heads["results"]} == {"main", "draft"}
    assert document["data"] == {"late": 1, "b": 1}
    assert [entry["version"] for entry in history["results"]] == [9, 8, 7, 6, 5, 4, 3, 2, 1]
