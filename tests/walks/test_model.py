"""Three clients, any order of events: at the end all have what the server has, and each write counted once."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from session_mgmt.actions import bodies, compaction, sessions
from session_mgmt.bridge import bridge
from session_mgmt.client.core import Core
from session_mgmt.client.effects import Effect, Leave, ResendAfter, Send, Settle
from session_mgmt.client.storage import Saved
from session_mgmt.consumers.hub import hub
from session_mgmt.models import StateDocument
from tests.walks.conftest import Peer

TABS = st.integers(0, 2)
PLACES = st.sampled_from(["/a", "/b", "/a/x", "/a/y", "/list", "/list/0", "/list/-"])
VALUES = st.sampled_from([0, 1, True, None, "text", {}, {"x": 1}, [], [1, 2]])
OPS = st.one_of(
    st.tuples(st.sampled_from(["set", "ins"]), PLACES, VALUES),
    st.tuples(st.just("del"), PLACES),
    st.tuples(st.just("obj"), PLACES),
)
WRITES = st.lists(OPS.map(list), max_size=2)
STRATEGIES = st.sampled_from([None, "merge", "server_wins", "client_wins", "reject", "manual"])


class Tab:
    """One client: the real core on a real connection, or on none."""

    def __init__(self, number: int, token: str) -> None:
        self.core = Core(Saved())
        self.core.replica("main")
        self._number, self._token = number, token
        self._peer: Peer | None = None
        self._resend = False
        self._pings = 0
        self.accepted: set[int] = set()
        self.asked = 0

    @property
    def online(self) -> bool:
        return self._peer is not None

    async def connect(self) -> None:
        self._peer = Peer()
        await self._peer.handshake()
        await self._peer.say(**self.core.opening(self._token))

    async def drop(self) -> None:
        """What was on its way in either direction may be lost."""
        peer, self._peer = self._peer, None
        self._resend = False
        self.core.disconnected()
        if peer is not None:
            await peer.drop()

    async def write(self, ops: list[Any], strategy: str | None) -> None:
        self.asked += 1
        _, effects = self.core.update("main", [["inc", f"/n/{self._number}", 1], *ops], strategy)
        await self.perform(effects)

    async def take(self, *, twice: bool) -> None:
        """Everything that the server has said by now."""
        self._pings += 1
        assert self._peer is not None
        await self._peer.say(type="ping", id=self._pings)
        while self._peer is not None:
            frame = await self._peer.next()
            if frame["type"] == "pong" and frame["id"] == self._pings:
                return
            await self.receive(frame, twice=twice)

    async def settle(self) -> None:
        """Until every write is answered."""
        while len(self.core.outbox):
            await self._next()

    async def reach(self, version: int) -> None:
        while (place := self.core.replica("main").position) is None or place.offset < version:
            await self._next()

    async def repeat(self) -> None:
        await self.perform(list(self.core.resend()))

    async def receive(self, frame: dict[str, Any], *, twice: bool = False) -> None:
        again = twice and frame["type"] in ("receipt", "entries")
        for _ in range(2 if again else 1):
            await self.perform(list(self.core.receive(frame)))

    async def perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Send(frame) if self._peer is not None:
                    await self._peer.say(**frame)
                case ResendAfter():
                    self._resend = True
                case Settle(seq, receipt) if receipt["ok"]:
                    self.accepted.add(seq)
                case Leave():
                    await self.drop()

    async def _next(self) -> None:
        if self._peer is None:
            await self.connect()
        assert self._peer is not None
        await self.receive(await self._peer.next())
        if self._resend:
            self._resend = False
            await self.repeat()


class Clients(RuleBasedStateMachine):
    """The rules that Hypothesis draws from."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self.tabs: list[Tab] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    @initialize()
    def begin(self) -> None:
        self.created = self.run(bridge().call(sessions.create))
        self.tabs = [Tab(number, self.created.token.secret) for number in range(3)]
        for tab in self.tabs:
            self.run(tab.connect())
            self.run(tab.reach(0))

    @rule(number=TABS, ops=WRITES, strategy=STRATEGIES)
    def write(self, number: int, ops: list[Any], strategy: str | None) -> None:
        self.run(self.tabs[number].write(ops, strategy))

    @rule(number=TABS, mine=st.lists(WRITES, max_size=3), theirs=st.lists(WRITES, max_size=8), compact=st.booleans())
    def be_away_while_another_writes(self, number: int, mine: list[Any], theirs: list[Any], compact: bool) -> None:
        away, other = self.tabs[number], self.tabs[(number + 1) % 3]
        self.run(away.drop())
        for ops in mine:
            self.run(away.write(ops, None))
        for ops in theirs:
            self.run(other.write(ops, None))
        self.run(other.settle())
        if compact:
            self.compact()

    @rule(number=TABS)
    def lose_the_network(self, number: int) -> None:
        self.run(self.tabs[number].drop())

    @rule(number=TABS)
    def come_back(self, number: int) -> None:
        if not self.tabs[number].online:
            self.run(self.tabs[number].connect())

    @rule(number=TABS, twice=st.booleans())
    def listen(self, number: int, twice: bool) -> None:
        if self.tabs[number].online:
            self.run(self.tabs[number].take(twice=twice))

    @rule(number=TABS)
    def send_everything_again(self, number: int) -> None:
        self.run(self.tabs[number].repeat())

    @rule()
    def compact(self) -> None:
        self.run(bridge().call(self._compact))

    @precondition(lambda self: any(tab.online for tab in self.tabs))
    @rule()
    def restart_the_server(self) -> None:
        self.run(self._stop())
        self._loop.close()
        # A hub belongs to its loop: the next one knows nothing of what was.
        self._loop = asyncio.new_event_loop()

    def teardown(self) -> None:
        try:
            if self.tabs:
                self.run(self._finish())
        finally:
            self.run(self._stop())
            self._loop.close()

    async def _finish(self) -> None:
        for tab in self.tabs:
            await tab.settle()
        version, data = await bridge().read(self._document)
        for tab in self.tabs:
            await tab.reach(version)
        counted = data.get("n", {})
        for number, tab in enumerate(self.tabs):
            assert tab.core.replica("main").view == data
            assert counted.get(str(number), 0) == len(tab.accepted)
            assert len(tab.accepted) <= tab.asked

    async def _stop(self) -> None:
        await hub().stop()
        for tab in self.tabs:
            await tab.drop()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)

    def _compact(self) -> None:
        row = StateDocument.objects.filter(session=self.created.session).values_list("id", flat=True).first()
        if row is not None:
            compaction.compact(row)

    def _document(self) -> tuple[int, Any]:
        row = StateDocument.objects.filter(session=self.created.session).first()
        if row is None:
            return 0, {}
        body = bodies.load(bridge().using, row.pk, limit=10**7)
        return body.position.offset, body.data


# A task that is cancelled before its first step leaves its coroutine unawaited.
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_three_clients_agree_with_the_server_in_the_end(transactional_db: None, settings: Any) -> None:
    # A log of a few revisions: whoever was away for long comes back to a snapshot.
    settings.SESSION_MGMT = {"max_revisions": 4, "snapshot_every": 4, "max_frames_per_second": 10_000.0}
    run_state_machine_as_test(Clients, settings=FEW)


FEW = settings(
    max_examples=12, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck), print_blob=False
)
