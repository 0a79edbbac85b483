"""Languages of the servers that are compared: ours, plain Channels, and Socket.IO on its own wire."""

from __future__ import annotations

from typing import Any

import orjson

from tests.benchmarks.guests import Guest, OverSocket
from tests.benchmarks.peers import SUBPROTOCOL

TEXT = "t" * 180
DOCUMENT = "main"


class Ours(OverSocket):
    """Session with a token. A room is the name of a topic or a document, or of several logs; it follows its own too."""

    path, subprotocol = "/ws/session/", SUBPROTOCOL

    def greet(self, guest: Guest) -> bytes:
        logs = guest.places or dict.fromkeys(["session", *guest.room.split()] if guest.room else [])
        told = {
            "type": "connect",
            "token": guest.credential,
            "client_id": guest.name,
            "acked": guest.acked,
            "logs": logs,
        }
        return orjson.dumps(told)

    def hear(self, guest: Guest, frame: bytes) -> None:
        kind = frame[9:14]
        if kind == b"entri":
            self._take(guest, orjson.loads(frame))
        elif kind == b"conne":
            self._begin(guest, orjson.loads(frame))
        elif kind == b'pong"':
            guest.answer()
        elif kind == b"recei":
            self._receive(guest, orjson.loads(frame))
        elif kind == b'ping"':
            guest.write(b'{"type":"pong","ping":%d,"acked":%d}' % (orjson.loads(frame)["ping"], guest.acked))
        elif kind == b"snaps":
            told = orjson.loads(frame)
            guest.places[told["log"]] = told["position"]
            guest.tell_up_to(told["data"].get("n", 0))
        elif kind in {b'bye",', b"error"}:
            guest.refuse(orjson.loads(frame).get("retry_after"))

    def _receive(self, guest: Guest, receipt: dict[str, Any]) -> None:
        """Take a receipt. A write that was refused for now goes again, with those behind it, and counts only then."""
        if receipt["seq"] not in guest.unanswered:
            # What went again had been answered meanwhile.
            return
        if receipt["ok"]:
            del guest.unanswered[receipt["seq"]]
            guest.answer()
        elif receipt["error"]["temporary"]:
            guest.write_again(receipt["error"]["retry_after"])
        else:
            raise ValueError(f"A write was refused for good: {receipt}")

    def _begin(self, guest: Guest, told: dict[str, Any]) -> None:
        guest.name = told["client_id"]
        for log, verdict in told["logs"].items():
            if verdict["mode"] != "snapshot":
                guest.places[log] = verdict["position"]
        guest.enter()

    def _take(self, guest: Guest, told: dict[str, Any]) -> None:
        log, entries = told["log"], told["entries"]
        guest.places[log] = [told["epoch"], *entries[-1][:2]]
        for _, _, body in entries if log == guest.room else ():
            guest.tell(body["ops"][0][2] if "ops" in body else body["n"])

    def ask(self, number: int) -> bytes:
        return b'{"type":"ping","id":%d}' % number

    def say(self, guest: Guest, room: str, number: int) -> bytes:
        guest.seq += 1
        data = b'{"n":%d,"text":"%s"}' % (number, TEXT.encode())
        frame = b'{"type":"publish","seq":%d,"topic":"%s","data":%s}' % (guest.seq, room[6:].encode(), data)
        return guest.keep(frame)

    def change(self, guest: Guest, number: int) -> bytes:
        """Give a frame that changes one field of the guest's own document."""
        guest.seq += 1
        operations = b'[["set","/n",%d],["set","/text","%s"]]' % (number, TEXT.encode())
        frame = b'{"type":"update","seq":%d,"doc":"%s","ops":%s}' % (guest.seq, DOCUMENT.encode(), operations)
        return guest.keep(frame)


class Plain(OverSocket):
    """A user of Django's session cookie in the room of all members; nothing is given to who was away."""

    subprotocol = None

    def __init__(self, path: str) -> None:
        self.path = path

    def greet(self, guest: Guest) -> bytes:
        return b""

    def hear(self, guest: Guest, frame: bytes) -> None:
        if not frame.startswith(b"{"):
            return  # the code of a close
        told = orjson.loads(frame)
        if told["type"] == "said":
            guest.tell(told["data"]["n"])
        elif told["type"] == "answer":
            guest.answer()
        elif told["type"] == "ready":
            guest.enter()

    def ask(self, number: int) -> bytes:
        return b'{"ask":%d}' % number

    def say(self, guest: Guest, room: str, number: int) -> bytes:
        return b'{"data":{"n":%d,"text":"%s"}}' % (number, TEXT.encode())


class SocketIo(OverSocket):
    """Engine.IO 4 over WebSocket, with connection state recovery; it asks nobody who he is."""

    path, subprotocol = "/socket.io/?EIO=4&transport=websocket", None

    def greet(self, guest: Guest) -> bytes:
        return b""

    def hear(self, guest: Guest, frame: bytes) -> None:
        if frame.startswith(b"42"):
            told = orjson.loads(frame[2:])
            # The server adds the place of the packet as the last argument.
            guest.places[guest.room] = told[-1]
            guest.tell(told[1]["n"])
        elif frame.startswith(b"430"):
            guest.enter()
        elif frame.startswith(b"43"):
            guest.answer()
        elif frame == b"2":
            guest.write(b"3")
        elif frame.startswith(b"40"):
            self._begin(guest, orjson.loads(frame[2:]))
        elif frame.startswith(b"0"):
            known = {"pid": guest.name, "offset": guest.places[guest.room]} if guest.places else None
            guest.write(b"40" + (orjson.dumps(known) if known else b""))

    def _begin(self, guest: Guest, told: dict[str, Any]) -> None:
        recovered, guest.name = guest.name == told["pid"], told["pid"]
        if recovered:
            guest.enter()
        else:
            guest.write(b'420["join","%s"]' % guest.room.encode())

    def ask(self, number: int) -> bytes:
        return b'42%d["ask",%d]' % (number, number)

    def say(self, guest: Guest, room: str, number: int) -> bytes:
        return b'42["say","%s",{"n":%d,"text":"%s"}]' % (room.encode(), number, TEXT.encode())
