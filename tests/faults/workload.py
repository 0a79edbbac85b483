"""Work of the clients: write without pause, retry what was answered, and take over their own connections."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, WebSocketException

from tests.faults.guests import Guest, Visit
from tests.faults.history import History
from tests.faults.lists import TOPIC, Lister, Shelf
from tests.faults.peer import Group, Peer
from tests.faults.servers import AppServer
from tests.faults.sight import Write

GROUP_SIZE = 5
# By which guests filter.
KEYS = "abc"
# Of rows that publish, which readers of lists show.
ROW_CHANGES = ["make", "rename", "rename", "delete"]
PLACES = "0123456789"
# Longer than a slow machine takes: the work goes on meanwhile, and ends what is waited for.
ZOMBIE_SECONDS = 10.0
IDLE_SECONDS = 20.0
CREATE_SECONDS = 120.0


class Writes:
    """Mix of writes; every value carries a label that no other write has."""

    def __init__(self) -> None:
        self._numbers: Iterator[int] = itertools.count(1)

    def __call__(self, peer: Peer) -> Write:
        op = f"{peer.name}-{next(self._numbers)}"
        kinds, weights = zip(*_MIX.items(), strict=True)
        make = peer.chance.choices(kinds, weights)[0]
        return Write(op, make(peer, op))


def own_value(peer: Peer, op: str) -> dict[str, Any]:
    """Two paths that only this client writes: never a conflict, whatever the base."""
    return _update(peer, [["inc", f"/counters/{peer.name}", 1], ["set", f"/values/{peer.name}", op]], "server_wins")


def shared_value(peer: Peer, op: str) -> dict[str, Any]:
    """Write to a path that all write: behind the head it conflicts, and is dropped or refused."""
    strategy = peer.chance.choice(["server_wins", "server_wins", "reject"])
    ops: list[list[Any]] = [["set", f"/shared/{peer.chance.randrange(3)}", op], ["inc", f"/tries/{peer.name}", 1]]
    return _update(peer, ops, strategy)


def blind(peer: Peer, op: str) -> dict[str, Any]:
    """Without a base, and one operation that others do as well."""
    frame = _update(peer, [["inc", "/total", 1], ["set", f"/blind/{peer.name}", op]], "server_wins")
    return {key: value for key, value in frame.items() if key not in {"base", "epoch", "tag"}}


def _update(peer: Peer, ops: list[list[Any]], strategy: str) -> dict[str, Any]:
    doc = peer.chance.choices(["main", "cart"], [2, 1])[0]
    frame: dict[str, Any] = {"type": "update", "doc": doc, "strategy": strategy, "ops": ops}
    known = peer.positions[f"state:{doc}"]
    return frame | {"base": known[1], "epoch": known[0], "tag": known[2]} if known else frame


def publish(peer: Peer, op: str) -> dict[str, Any]:
    return {"type": "publish", "topic": peer.group.topic, "data": {"v": op, "k": peer.chance.choice(KEYS)}}


def send(peer: Peer, op: str) -> dict[str, Any]:
    """Send the label to the handler, which publishes it from inside a transaction, mostly with a change of a row."""
    row = {"row": [peer.chance.choice(ROW_CHANGES), peer.chance.choice(PLACES)]} if peer.chance.random() < 0.6 else {}
    return {"type": "send", "data": {"v": op, "k": peer.chance.choice(KEYS), "topic": peer.group.topic, **row}}


_MIX = {own_value: 35, shared_value: 15, blind: 5, publish: 35, send: 10}


class Crowd:
    """All clients of a run, `group_size` of them for each session; one asks again every `retry_seconds`."""

    group_size, retry_seconds = GROUP_SIZE, 0.02

    def __init__(
        self,
        history: History,
        servers: list[AppServer],
        clients: int,
        seed: int,
        *,
        absences: bool = False,
        takeovers: bool = True,
    ) -> None:
        self._history, self._servers, self._clients = history, servers, clients
        self._absences, self._takeovers = absences, takeovers
        self._random = random.Random(seed)
        self._writes = Writes()
        # Other addresses than the servers' own: of something that stands before them.
        self.addresses: list[str] = []
        self.groups: list[Group] = []
        self.peers: list[Peer] = []
        # Clients that write nothing, each with a session of its own.
        self.guests: list[Guest] = []
        self.listers: list[Lister] = []
        self._background: list[asyncio.Task[None]] = []

    @property
    def unanswered(self) -> int:
        return sum(peer.unanswered for peer in self.peers)

    @property
    def oks(self) -> int:
        return sum(peer.oks for peer in self.peers)

    async def create(self) -> None:
        """Create one session per group of clients, by REST."""
        async with httpx.AsyncClient(timeout=CREATE_SECONDS, trust_env=False) as http:
            for number in range(max(1, self._clients // self.group_size)):
                answer = await http.post(self._servers[0].url + "sessions/", json=self._build_wish())
                answer.raise_for_status()
                body = answer.json()
                path = body["endpoints"]["websocket"]
                session = body["session"]["session_id"]
                self.groups.append(Group(f"g{number}", session, self._keep_tokens(body), f"faults:g{number}"))
        urls = [f"ws://{netloc}{path}" for netloc in self._list_addresses()]
        for number in range(self._clients):
            group = self.groups[min(number // self.group_size, len(self.groups) - 1)]
            self.peers.append(self._peer(f"{group.name}c{number}", group, urls))
        self._readers = [self._peer(f"{group.name}reader", group, urls, writes=False) for group in self.groups]

    async def invite(self, number: int) -> None:
        """Create sessions of so many guests, which read the topics of the groups."""
        async with httpx.AsyncClient(timeout=CREATE_SECONDS, trust_env=False) as http:
            for index in range(number):
                body = (await http.post(self._servers[0].url + "sessions/", json={})).raise_for_status().json()
                topic = self.groups[index % len(self.groups)].topic
                visit = Visit(f"guest{index}", body["session"]["session_id"], body["token"], topic)
                urls = [f"ws://{netloc}{body['endpoints']['websocket']}" for netloc in self._list_addresses()]
                chance = random.Random(self._random.random())
                wanted = KEYS[index % len(KEYS)]
                self.guests.append(self._make_guest(visit, urls, chance, wanted))

    async def invite_listers(self, number: int) -> None:
        """Create sessions of so many readers of the list."""
        async with httpx.AsyncClient(timeout=CREATE_SECONDS, trust_env=False) as http:
            for index in range(number):
                body = (await http.post(self._servers[0].url + "sessions/", json={})).raise_for_status().json()
                shelf = Shelf(f"lister{index}", body["session"]["session_id"], body["token"], TOPIC)
                urls = [f"ws://{netloc}{body['endpoints']['websocket']}" for netloc in self._list_addresses()]
                chance = random.Random(self._random.random())
                self.listers.append(self._make_lister(shelf, urls, chance))

    @property
    def everybody(self) -> list[Peer]:
        return [*self.peers, *self.guests, *self.listers]

    def _make_guest(self, visit: Visit, urls: list[str], chance: random.Random, wanted: str) -> Guest:
        return Guest(visit.name, visit, urls, self._history, chance, None, wanted=wanted)

    def _make_lister(self, shelf: Shelf, urls: list[str], chance: random.Random) -> Lister:
        return Lister(shelf.name, shelf, urls, self._history, chance, None)

    def _list_addresses(self) -> list[str]:
        """List where the clients find the servers."""
        return self.addresses or [server.url.split("/")[2] for server in self._servers]

    def _build_wish(self) -> dict[str, Any]:
        """Build the body by which a session is made."""
        return {}

    def _keep_tokens(self, created: dict[str, Any]) -> str:
        """Keep what proves a session that was made; return the token that its clients begin with."""
        token: str = created["token"]
        return token

    def _peer(self, name: str, group: Group, urls: list[str], *, writes: bool = True) -> Peer:
        chance = random.Random(self._random.random())
        return Peer(name, group, urls, self._history, chance, self._writes if writes else None)

    def set_pipeline(self, most: int) -> None:
        """Let each client have so many writes on their way."""
        for peer in self.peers:
            peer.pipeline = most

    def let_rest(self, after: int | None) -> None:
        """Let each client rest when so many more of its writes are acknowledged; without a number, let none rest."""
        for peer in self.peers:
            peer.rest_at = None if after is None else peer.oks + after
            peer.wake()

    def start(self) -> None:
        for peer in self.everybody:
            peer.start()
        self._background = [asyncio.create_task(habit) for habit in self._list_habits()]

    def _list_habits(self) -> list[Coroutine[Any, Any, None]]:
        """List what goes on beside the writes."""
        habits = [self._retry()]
        habits += [self._usurp()] if self._takeovers else []
        habits += [self._leave()] if self._absences else []
        return habits

    async def settle(self, seconds: float) -> bool:
        """No new writes; whether every answer came within the time."""
        for peer in self.everybody:
            peer.writing = False
        await self._end_background()
        for peer in self.everybody:
            peer.paused = False
            peer.wake()

        def is_settled() -> bool:
            is_served = all(peer.ready and not peer.outbox for peer in self.everybody)
            return is_served and all(g.agreed for g in self.guests) and not any(r.is_asking for r in self.listers)

        return await until(is_settled, seconds)

    async def caught_up(self, heads: dict[str, dict[str, int]], seconds: float) -> bool:
        """Wait until every client reaches the head of every log (`heads`: session, log, offset) within the time."""

        def here() -> bool:
            return not any(list_behind(peer, heads[peer.group.session]) for peer in self.everybody)

        if not await until(here, seconds):
            return False
        for lister in self.listers:
            lister.show(is_last=True)
        return True

    async def read_all(self, seconds: float) -> None:
        """Connect a new client per session, which is given everything as it is now."""
        for reader in self._readers:
            reader.start()
        await until(
            lambda: all(r.positions["state:main"] and r.positions["state:cart"] for r in self._readers), seconds
        )
        await asyncio.gather(*(reader.stop() for reader in self._readers))
        await asyncio.gather(*(reader.task for reader in self._readers if reader.task), return_exceptions=True)

    async def stop(self) -> None:
        await self._end_background()
        await asyncio.gather(*(peer.stop() for peer in self.everybody))
        await end_tasks([peer.task for peer in self.everybody if peer.task])

    def hold_back(self, number: int) -> list[Peer]:
        """Let the last clients of each group stay away once their connections end; give them."""
        away = [peer for group in self.groups for peer in [p for p in self.peers if p.group is group][-number:]]
        for peer in away:
            peer.stay_away()
        return away

    def peers_beside(self, other: Peer, away: list[Peer]) -> list[Peer]:
        return [peer for peer in self.peers if peer.group is other.group and peer not in away]

    # What clients do beside writing.

    async def _end_background(self) -> None:
        ended, self._background = self._background, []
        await end_tasks(ended)

    async def _retry(self) -> None:
        while True:
            await asyncio.sleep(self.retry_seconds)
            await self._random.choice(self.peers).retry_answered()

    async def _leave(self) -> None:
        """Long enough for a short log to begin after what the client had seen."""
        while True:
            await asyncio.sleep(self._random.uniform(0.1, 0.3))
            await self._random.choice(self.peers).leave(self._random.uniform(0.8, 1.6))

    async def _usurp(self) -> None:
        while True:
            await asyncio.sleep(self._random.uniform(0.1, 0.3))
            peer = self._random.choice(self.peers)
            with contextlib.suppress(OSError, TimeoutError, WebSocketException, KeyError):
                await self._take_over(peer)
            peer.paused = False
            peer.wake()

    async def _take_over(self, peer: Peer) -> None:
        """Open a second connection of the same client, then write once more on the first, which must not count."""
        peer.paused = True
        if not await until(lambda: peer.ready and not peer.outbox, IDLE_SECONDS):
            return
        if peer.socket is None or peer.task is None:
            return
        old, generation, peer.socket = peer.socket, peer.generation, None
        adopted = None
        try:
            await end_tasks([peer.task])
            peer.asking.clear()
            adopted = await peer.join()
            if peer.generation > generation:
                await self._send_ghost(partial(self._zombie, peer, old, generation), old.transport.abort)
        finally:
            # Nothing is waited for: the work may end in the middle of this, and the client must go on being served.
            peer.ready, peer.paused = adopted is not None and peer.generation > generation, False
            if not peer.ready:
                old.transport.abort()
            peer.start(adopted)

    async def _send_ghost(
        self, haunt: Callable[[asyncio.Event], Coroutine[Any, Any, None]], leave: Callable[[], None] | None = None
    ) -> None:
        """Let what was replaced write: every other time before its successor does, when only the fence refuses it.

        In the end, and also if the ghost is sent away before it has begun, `leave` is called.
        """
        answered = asyncio.Event()
        ghost = asyncio.create_task(haunt(answered))
        if leave:
            ghost.add_done_callback(lambda _: leave())
        self._background.append(ghost)
        if self._random.random() < 0.5:
            await answered.wait()

    async def _zombie(self, peer: Peer, old: ClientConnection, generation: int, answered: asyncio.Event) -> None:
        """Write with the number that comes next on the connection that was replaced, and record what becomes of it."""
        name, record, frame = self._make_ghost(peer, generation)
        try:
            async with asyncio.timeout(ZOMBIE_SECONDS):
                await old.send(orjson.dumps(frame).decode())
                async for message in old:
                    self._heard(name, record, orjson.loads(message))
                    answered.set()
        except (TimeoutError, ConnectionClosed):
            pass
        finally:
            answered.set()
            code, why = old.close_code, old.close_reason
            self._history.add(name, "info", ops=[record["op"]], gen=generation, code=code, name=why)
            await old.close()

    def _make_ghost(self, peer: Peer, generation: int) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """Make a write for a connection that was replaced, under a label of its own."""
        name, write = peer.name + "!", self._writes(peer)
        op = write.op + "!"
        text = orjson.dumps(write.frame).replace(write.op.encode(), op.encode())
        frame = {**orjson.loads(text), "seq": peer.next_seq}
        record = {"op": op, "f": frame["type"], "gen": generation, "client": peer.client_id, "seq": frame["seq"]}
        self._history.add(name, "invoke", frame=frame, zombie=True, **record)
        return name, record, frame

    def _heard(self, name: str, record: dict[str, Any], frame: dict[str, Any]) -> None:
        if frame["type"] == "receipt" and frame["seq"] == record["seq"]:
            kind = "ok" if frame["ok"] else "temporary" if frame["error"].get("temporary") else "fail"
            self._history.add(name, kind, op=record["op"], gen=record["gen"], receipt=frame)
        elif frame["type"] in {"bye", "error"}:
            self._history.add(name, frame["type"], gen=record["gen"], frame=frame)


def list_behind(peer: Peer, heads: dict[str, int]) -> list[str]:
    """List the logs in which a client is not at the head; its session's own goes on, as connections are its events."""
    places = {log: peer.positions[log] for log in heads if log != "session"}
    behind = [log for log, place in places.items() if place is None or place[1] < heads[log]]
    return [f"{log} ({peer.sight.offsets[log]} of {heads[log]})" for log in behind]


async def end_tasks(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks, and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(done: Any, seconds: float, pause: float = 0.01) -> bool:
    """Poll every `pause` seconds: the harness watches other processes, and nobody would call it."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not done():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(pause)
    return True
