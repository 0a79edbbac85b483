"""Client of a test that speaks the calls of section 16 by hand, over any server or straight to the application."""

from __future__ import annotations

from typing import Any

import httpx

PATIENCE = 60.0


class HttpPeer:
    """One client: its identity, the places that it has reached, and what it has seen."""

    def __init__(self, http: httpx.AsyncClient, token: str, *, transport: str = "longpoll") -> None:
        self.http, self.token, self.transport = http, token, transport
        self.client_id: str | None = None
        self.generation = self.acked = 0
        self.recovery: str | None = None
        # Position and grant of each log that is followed.
        self.logs: dict[str, dict[str, Any]] = {}
        self.entries: dict[str, list[list[Any]]] = {}
        self.seen: list[dict[str, Any]] = []

    async def call(self, name: str, body: Any, **headers: str) -> httpx.Response:
        """Send one call; ``name`` is the end of its address."""
        given = {"Authorization": f"Bearer {self.token}", **headers}
        return await self.http.post(f"/api/connections/{name}", json=body, headers=given, timeout=PATIENCE)

    async def attach(self, logs: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        """Attach, with the places reached so far or those given, and follow the verdicts."""
        places = {name: log["position"] for name, log in self.logs.items()} if logs is None else logs
        body = {"client_id": self.client_id, "acked": self.acked, "transport": self.transport, "logs": places, **more}
        answer = await self.call("", body)
        assert answer.status_code == 200, answer.text
        (connected,) = answer.json()["frames"]
        self.seen.append(connected)
        self.client_id, self.generation = connected["client_id"], connected["generation"]
        self.recovery = connected["recovery"]
        self.logs = {}
        for name, verdict in connected["logs"].items():
            if verdict["mode"] != "denied":
                self.follow(name, verdict, places.get(name))
        return dict(connected)

    def follow(self, name: str, verdict: dict[str, Any], place: Any) -> None:
        """Go on from a verdict; a snapshot comes by the next poll."""
        position = place if verdict["mode"] == "snapshot" else verdict["position"]
        self.logs[name] = {"position": position, "grant": verdict.get("grant")}

    async def poll(self, hold: float | None = None, **more: Any) -> list[dict[str, Any]]:
        """Poll once, and take what comes."""
        answer = await self.call("poll/", self.build_poll(hold) | more)
        assert answer.status_code == 200, answer.text
        frames: list[dict[str, Any]] = answer.json()["frames"]
        self.take(frames)
        return frames

    def build_poll(self, hold: float | None = None) -> dict[str, Any]:
        body: dict[str, Any] = {"client_id": self.client_id, "generation": self.generation, "acked": self.acked}
        return {**body, "recovery": self.recovery, "logs": self.logs, **({} if hold is None else {"hold": hold})}

    async def poll_until(self, type_: str) -> dict[str, Any]:
        """Poll until a frame of this type has come."""
        while True:
            for frame in await self.poll():
                if frame["type"] == type_:
                    return frame

    async def exchange(self, *frames: dict[str, Any]) -> list[dict[str, Any]]:
        """Send frames, with the places of the documents that they write to, and take the answers."""
        written = {f"state:{frame.get('doc', 'main')}" for frame in frames if frame["type"] == "update"}
        places = {name: self.logs[name]["position"] for name in written if name in self.logs}
        body = {"client_id": self.client_id, "generation": self.generation, "acked": self.acked}
        answer = await self.call("frames/", {**body, "logs": places, "frames": list(frames)})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["frames"]
        self.take(found)
        return found

    def take(self, frames: list[dict[str, Any]]) -> None:
        """Advance by frames, whichever call has brought them; what was seen already is ignored."""
        for frame in frames:
            self.seen.append(frame)
            if frame["type"] == "entries":
                self._take_entries(frame)
            elif frame["type"] in ("snapshot", "gap") and frame["log"] in self.logs:
                self.logs[frame["log"]]["position"] = frame["position"]
            elif frame["type"] == "grants":
                for name, grant in frame["grants"].items():
                    self.logs[name]["grant"] = grant
            elif frame["type"] == "recovery":
                self.recovery = None

    def _take_entries(self, frame: dict[str, Any]) -> None:
        log = self.logs[frame["log"]]
        if "prev" in frame:
            self._take_covered(log, frame)
            return
        for entry in frame["entries"]:
            offset, tag, _ = entry
            place = log["position"]
            if place is not None and place[0] == frame["epoch"] and offset <= place[1]:
                continue
            assert place is None or offset == place[1] + 1, f"{frame['log']} jumps from {place} to {offset}"
            log["position"] = [frame["epoch"], offset, tag]
            self.entries.setdefault(frame["log"], []).append(entry)

    def _take_covered(self, log: dict[str, Any], frame: dict[str, Any]) -> None:
        """Take a frame that stands for a range of which it has not every entry."""
        place = log["position"]
        assert place is not None and place[0] == frame["epoch"] and frame["prev"] <= place[1], f"jumps from {place}"
        self.entries.setdefault(frame["log"], []).extend(entry for entry in frame["entries"] if entry[0] > place[1])
        if frame["position"][1] > place[1]:
            log["position"] = frame["position"]
