"""Clients as the tabs of browsers, and kills that come while one of them exchanges its tokens."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from tests.faults.final import Database
from tests.faults.nemesis import Nemesis
from tests.faults.peer import Group, Peer
from tests.faults.servers import AppServer
from tests.faults.tab import ANSWER_SECONDS, Tab
from tests.faults.wallet import Wallet, hash_pair, make_nonce
from tests.faults.workload import Crowd

TABS = 3
PAUSE_SECONDS, WRITES = 0.5, 2


class Browsers(Crowd):
    """Crowd of which each session's clients share one pair of tokens."""

    group_size, retry_seconds = TABS, 0.2

    def __init__(self, *args: Any, transports: tuple[str, ...], **named: Any) -> None:
        super().__init__(*args, **named)
        self._transports = transports
        self._http = httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False)
        self.wallets: dict[str, Wallet] = {}
        self._keepers: list[asyncio.Task[None]] = []

    def _build_wish(self) -> dict[str, Any]:
        return {"nonce": make_nonce(self._random)}

    def _keep_tokens(self, created: dict[str, Any]) -> str:
        session = created["session"]["session_id"]
        self.wallets[session] = wallet = Wallet(created, random.Random(self._random.random()))
        self._history.add("browser", "pair", session=session, **hash_pair(created))
        return wallet.access

    def _peer(self, name: str, group: Group, urls: list[str], *, writes: bool = True) -> Peer:
        chance, wallet = random.Random(self._random.random()), self.wallets[group.session]
        next_write = self._writes if writes else None
        rest = [server.url + "tokens/refresh/" for server in self._servers]
        given = (name, group, urls, self._history, chance, next_write)
        tab = Tab(*given, transports=self._transports, wallet=wallet, http=self._http, rest=rest)
        wallet.tabs.append(tab)
        return tab

    @property
    def tabs(self) -> list[Tab]:
        """Tabs that write; each browser opens another one in the end, which only reads."""
        return [tab for wallet in self.wallets.values() for tab in wallet.tabs if tab.next_write]

    def start(self) -> None:
        super().start()
        self._background.append(asyncio.create_task(self._pace()))
        self._keepers = [asyncio.create_task(tab.keep_tokens()) for tab in self.tabs]

    async def _pace(self) -> None:
        """Let the tabs write, and rest, so that there is time for tokens to end in."""
        while True:
            for tab in self.tabs:
                tab.allow(WRITES)
            await asyncio.sleep(PAUSE_SECONDS)

    async def read_all(self, seconds: float) -> None:
        await super().read_all(seconds)
        await self._rest(seconds)

    async def _rest(self, seconds: float) -> None:
        """End the exchanges, with an answer to each: only then the database holds what the tabs do."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                for wallet in self.wallets.values():
                    await wallet.lock.acquire()
        await self._end_keepers()

    async def _end_keepers(self) -> None:
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)

    async def stop(self) -> None:
        await self._end_keepers()
        await super().stop()
        await self._http.aclose()


@dataclass(kw_only=True)
class Interrupter(Nemesis):
    """Nemesis that kills while a refresh is under way: by turns before the database has taken it, or not, and after."""

    wallets: Mapping[str, Wallet]
    database: Database

    def is_due(self) -> bool:
        if all(wallet.is_void for wallet in self.wallets.values()):
            return super().is_due()
        asked = self._list_under_way()
        return bool(asked) and super().is_due() and (self.kills % 2 == 1 or bool(asked & self.database.spent_nonces()))

    def _end(self, server: AppServer) -> None:
        super()._end(server)
        spent = self._list_under_way() & self.database.spent_nonces()
        self.history.add("nemesis", "spent", nonces=sorted(spent))

    def _list_under_way(self) -> set[str]:
        wallets = self.wallets.values()
        return {wallet.pending.digests["nonce"] for wallet in wallets if wallet.pending and wallet.is_under_way}
