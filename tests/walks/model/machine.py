"""The rules that Hypothesis draws from; after each what is confirmed must be true, and in the end everything."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from typing import Any

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from session_mgmt.bridge import bridge
from session_mgmt.consumers.hub import hub
from tests.walks.model import drawing, laws
from tests.walks.model.drawing import DOCS, STRATEGIES, TABS
from tests.walks.model.ledger import Ledger, same
from tests.walks.model.resolver import first_text
from tests.walks.model.server import COUNTER, NEVER, Server
from tests.walks.model.tab import DOCUMENTS, Tab, grown

RESOLVER = f"{first_text.__module__}.{first_text.__qualname__}"
POLICIES = {"main": {"arrays": laws.ARRAYS}, "side": {"arrays": laws.ARRAYS, "strategy": RESOLVER}}
OLD, NEW = ("old", "b2xk" * 10 + "b28="), ("new", "bmV3" * 10 + "bm4=")
# A log of a few revisions: whoever was away for long comes back to a snapshot.
SETTINGS = {"max_revisions": 4, "snapshot_every": 4, "max_frames_per_second": 10_000.0, "documents": POLICIES}


class Clients(RuleBasedStateMachine):
    """Three clients of one session, its documents `main` and `side`, and the project's own code."""

    settings: Any = None
    seen: Counter[str] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self.tabs: list[Tab] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(work)

    @initialize(encrypted=st.sampled_from([False, ("main",), ("side",), True]))
    def begin(self, encrypted: Any) -> None:
        type(self).settings.SESSION_MGMT = {**SETTINGS, "state_keys": [OLD], "encrypt_state": encrypted}
        self.server = Server(Ledger())
        self.tabs = [Tab(number, self.server.token) for number in range(3)]
        for tab in self.tabs:
            self.run(tab.connect())
            self.run(tab.reach("main", 0))

    # Writing.

    def update(self, number: int, doc: str, edits: list[Any], strategy: str | None) -> None:
        tab = self.tabs[number]
        count = [["inc", f"/n/{number}", 1], ["inc", "/total", 1]]
        self.run(tab.update(doc, [*count, *(grown(tab.view(doc), edit) for edit in edits)], strategy))

    @rule(number=TABS, doc=DOCS, edits=drawing.WRITES, strategy=STRATEGIES)
    def write(self, number: int, doc: str, edits: list[Any], strategy: str | None) -> None:
        self.update(number, doc, edits, strategy)

    @rule(number=TABS, change=drawing.OTHER_CHANGES, strategy=STRATEGIES)
    def write_in_another_form(self, number: int, change: Any, strategy: str | None) -> None:
        doc, (kind, value) = change
        self.run(self.tabs[number].other(doc, kind, value, strategy))

    @rule(first=TABS, mine=drawing.WRITES, theirs=drawing.WRITES, doc=DOCS, strategy=STRATEGIES)
    def two_write_at_once(self, first: int, mine: list[Any], theirs: list[Any], doc: str, strategy: Any) -> None:
        self.update(first, doc, mine, strategy)
        self.update((first + 1) % 3, doc, theirs, strategy)

    @rule(
        number=TABS,
        doc=DOCS,
        mine=st.lists(drawing.WRITES, max_size=3),
        theirs=st.lists(drawing.WRITES, max_size=8),
        strategy=STRATEGIES,
        compact=st.booleans(),
    )
    def be_away_while_another_writes(
        self, number: int, doc: str, mine: list[Any], theirs: list[Any], strategy: Any, compact: bool
    ) -> None:
        away, other = number, (number + 1) % 3
        self.run(self.tabs[away].drop())
        for edits in mine:
            self.update(away, doc, edits, strategy)
        for edits in theirs:
            self.update(other, doc, edits, None)
        self.run(self.tabs[other].settle())
        if compact:
            self.server.compact(doc)

    # The network, and pages.

    @rule(number=TABS)
    def lose_the_network(self, number: int) -> None:
        self.run(self.tabs[number].drop())

    @rule(number=TABS, edits=drawing.WRITES)
    def lose_the_answers(self, number: int, edits: list[Any]) -> None:
        self.update(number, "main", edits, None)
        self.run(self.tabs[number].lose_answers())

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

    @rule(number=TABS, back=st.integers(0, 5))
    def ask_for_an_old_answer(self, number: int, back: int) -> None:
        tab = self.tabs[number]
        if len(tab.answers) > back:
            self.run(tab.ask_again(sorted(tab.answers)[-1 - back]))

    @rule(number=TABS)
    def reload(self, number: int) -> None:
        if self.tabs[number].can_reload:
            self.run(self.tabs[number].reload())

    # The server.

    @rule(change=drawing.SERVER_CHANGES, twice=st.booleans())
    def the_project_writes(self, change: Any, twice: bool) -> None:
        doc, (kind, value) = change
        self.server.write(doc, kind, value, twice=twice)

    @rule(changes=st.lists(drawing.BLIND_CHANGES, max_size=2), commit=st.booleans())
    def the_project_writes_in_a_transaction(self, changes: Any, commit: bool) -> None:
        self.server.write_inside(changes, commit=commit)

    @rule(doc=DOCS)
    def persist(self, doc: str) -> None:
        self.server.persist(doc)

    @rule(back=st.integers(0, 6), inside=st.booleans())
    def restore(self, back: int, inside: bool) -> None:
        self.server.restore(back, inside=inside)

    @rule()
    def clear(self) -> None:
        self.server.clear()

    @rule(doc=DOCS, keep=st.sampled_from(["server", "client", "value"]))
    def decide_a_conflict(self, doc: str, keep: str) -> None:
        self.server.resolve(doc, keep)

    @rule(doc=DOCS)
    def compact(self, doc: str) -> None:
        self.server.compact(doc)

    @rule(doc=DOCS)
    def look_back(self, doc: str) -> None:
        self.server.look_back(doc)

    @rule(doc=DOCS)
    def change_the_key(self, doc: str) -> None:
        now = type(self).settings.SESSION_MGMT
        type(self).settings.SESSION_MGMT = {**now, "state_keys": [NEW, OLD]}
        self.server.seal_anew(doc)

    @rule()
    def restart_the_server(self) -> None:
        self.run(self._stop())
        self._loop.close()
        self._loop = asyncio.new_event_loop()
        self.server.restart()
        type(self).seen["restarts"] += 1

    # What must be true.

    @invariant()
    def what_is_confirmed_is_true(self) -> None:
        for doc in DOCUMENTS if self.tabs else ():
            book = self.server.book(doc)
            for tab in self.tabs:
                replica = tab.core.open_replica(doc)
                if replica.position is not None:
                    true = book.value(replica.position.offset)
                    assert same(replica.confirmed, true), f"{tab.number} has {replica.confirmed}, not {true}"

    def teardown(self) -> None:
        try:
            if self.tabs:
                self.run(self._heal())
                self.judge()
        finally:
            self.run(self._stop())
            self._loop.close()
            if self.tabs:
                self.server.stop()

    def judge(self) -> None:
        for doc in DOCUMENTS:
            self.server.look_back(doc)
            self.server.check_size(doc)
        for tab in self.tabs:
            assert sorted(tab.answers) == sorted(tab.asked) == list(range(1, len(tab.asked) + 1))
            for seq in tab.asked:
                self._judge(tab, seq)
            type(self).seen.update(_events(tab))
        self.count()

    def _judge(self, tab: Tab, seq: int) -> None:
        asked, answer = tab.asked[seq], tab.answers[seq]
        book = self.server.book(asked.doc)
        try:
            laws.judge(tab, seq, book)
        except AssertionError as error:
            before = book.value(answer["position"][1] - 1) if answer["ok"] else None
            raise AssertionError(f"{asked} was answered by {answer}, on {before}") from error

    def count(self) -> None:
        """Main is never replaced as a whole, so its counters say how often each write took effect."""
        main = self.server.book("main").value(-1)
        counted = {tab.number: _accepted(tab) for tab in self.tabs}
        for number, times in counted.items():
            assert main.get("n", {}).get(str(number), 0) == times, f"{number} has {times} receipts, but {main}"
        assert main.get("n", {}).get("server", 0) == self.server.added, COUNTER
        assert main.get("total", 0) == sum(counted.values()) + self.server.added
        assert NEVER[1:] not in main

    async def _heal(self) -> None:
        """Everybody comes back, every answer comes, and everybody has what the server has; a new client too."""
        await bridge().read(bridge().drain)
        self.tabs.append(Tab(3, self.server.token))
        for tab in self.tabs:
            await tab.settle()
        for doc in DOCUMENTS:
            book = await bridge().read(self.server.book, doc)
            for tab in self.tabs:
                await tab.reach(doc, book.head)
                assert same(tab.view(doc), book.value(-1)), f"{tab.number} has another {doc} than the server"

    async def _stop(self) -> None:
        await hub().stop()
        for tab in self.tabs:
            await tab.drop()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)


def _accepted(tab: Tab) -> int:
    """Writes to main that must have counted: not those of which the answer says that even that was dropped, because
    somebody had touched the whole document.
    """
    writes = ((tab.asked[seq], answer) for seq, answer in tab.answers.items())
    return sum(
        answer["ok"] and asked.kind == "ops" and asked.doc == "main" and not laws.is_told(answer, f"/n/{tab.number}")
        for asked, answer in writes
    )


def _events(tab: Tab) -> Counter[str]:
    """What a run must have met to say anything."""
    found = Counter({"too old": tab.too_old, "writes": len(tab.asked), "repeated": tab.repeated})
    for seq, answer in tab.answers.items():
        asked = tab.asked[seq]
        told = [name for name in ("conflicts", "dropped", "overwrote", "unchanged") if answer.get(name)]
        found.update([*told, *([] if answer["ok"] else [answer["error"]["name"]])])
        found[f"strategy {asked.strategy}"] += 1
        found["judged by digests"] += asked.digested is not None
    return found
