"""Client that shows a list page by page, turns pages and reads some again while rows change and servers die."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection

from tests.faults.peer import Group, Peer
from tests.faults.sight import Frame
from tests.live_pages.client import Client

TOPIC = "rows:all"
LOG = f"topic:{TOPIC}"
ORDERINGS = ["name", "-name"]
# Pages after which it begins anew, so that pages are turned until the end of a run.
MOST_PAGES = 4
# Only a fault of the network that is not noticed lasts so long.
ANSWER_SECONDS = 10.0
# Of the entries that come, how many have it say what it shows; each page does.
SHOWS = 0.2


@dataclass(frozen=True, slots=True)
class Shelf(Group):
    """Session of one reader of a list."""

    @property
    def logs(self) -> list[str]:
        return ["session", LOG]


@dataclass(eq=False)
class Lister(Peer):
    """Client that writes nothing, and applies what is published to the pages it has read (`tests.live_pages`)."""

    shown: Client | None = None
    is_asking: bool = False
    _kept: list[tuple[int, Any]] = field(default_factory=list)
    _http: httpx.AsyncClient | None = None

    async def join(self) -> ClientConnection:
        await self.begin()
        return await super().join()

    async def begin(self) -> None:
        """Begin with a page, so that the first connection follows its topic from the page's place on."""
        while self.shown is None:
            await self._begin(self.chance.choice(ORDERINGS))
        if self.positions[LOG] is None:
            self.sight.positions[LOG] = self._place

    async def stop(self) -> None:
        await super().stop()
        if self._http is not None:
            await self._http.aclose()

    def take(self, frame: Frame, asked: dict[str, Any]) -> None:
        super().take(frame, asked)
        if frame["type"] != "entries" or frame["log"] != LOG or self.shown is None:
            return
        for offset, _, body, *_ in frame["entries"]:
            self._kept.append((offset, body))
            self.shown.take_entry(offset, body)
        if self.chance.random() < SHOWS:
            self.show()

    def show(self, *, is_last: bool = False) -> None:
        """Note what is shown. A page that is ahead, or rows that must be read again, say that it is not all yet."""
        if self.shown is None:
            return
        whole = not self.shown.is_waiting and not self.shown.is_stale
        after, until = self.shown.range
        more = {"after": after, "until": until, "descending": self._descending, "last": is_last, "whole": whole}
        self.history.add(self.name, "shows", log=LOG, place=self.shown.place, rows=self.shown.rows, **more)

    async def _pump(self, socket: ClientConnection, generation: int) -> None:
        await self.turn_pages()

    async def turn_pages(self) -> None:
        """Turn pages as long as the connection lasts."""
        while self.ready and not self.stopping:
            if not self.writing:
                self._room.clear()
                await self._room.wait()
                continue
            await self._turn()
            await asyncio.sleep(self.chance.uniform(0.05, 0.25))

    async def _turn(self) -> None:
        """Read on, a page again, or all anew."""
        shown = self.shown
        if shown is None or shown.is_waiting:
            return
        addresses = shown.refresh_addresses
        if shown.is_stale or self.chance.random() < 0.3:
            number = self.chance.randrange(len(addresses))
            await self._take(addresses[number], "refresh", number)
        elif shown.next is not None and len(addresses) < MOST_PAGES:
            await self._take(shown.next, "next", 0)
        else:
            await self._begin(self.chance.choice(ORDERINGS))

    async def _take(self, address: str, of: str, number: int) -> None:
        assert self.shown is not None
        self.shown.begin_request()
        page = await self._read(address)
        if page is not None:
            self.shown.take_page(page, of, number)
            self._note_page(page, of)
            self.show()

    async def _begin(self, ordering: str) -> None:
        self._kept = []
        page = await self._read("/rows/?ordering=" + ordering)
        if page is None:
            await asyncio.sleep(0.05)
            return
        self._place, self._descending = page["live"]["position"], ordering.startswith("-")
        self.shown = Client(page)
        for offset, body in self._kept:
            self.shown.take_entry(offset, body)
        self._note_page(page, "first")
        self.show()

    def _note_page(self, page: dict[str, Any], of: str) -> None:
        """Note the page as it came: what it has too much is not shown."""
        given = {name: page["live"][name] for name in ("position", "exact", "after", "until")}
        self.history.add(self.name, "page", of=of, rows=page["results"], descending=self._descending, **given)

    async def _read(self, address: str) -> dict[str, Any] | None:
        """Ask for a page; a server that is away, or busy, answers none."""
        if self._http is None:
            self._http = httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False)
        netloc = self.chance.choice(self.urls).split("/")[2]
        path = httpx.URL(address).raw_path.decode()
        self.is_asking = True
        try:
            with contextlib.suppress(httpx.HTTPError):
                headers = {"Authorization": f"Bearer {self.token}"}
                answer = await self._http.get(f"http://{netloc}{path}", headers=headers)
                if answer.status_code == httpx.codes.OK:
                    page: dict[str, Any] = answer.json()
                    return page
                self.history.add(self.name, "unread", status=answer.status_code, text=answer.text[:500])
        finally:
            self.is_asking = False
        return None
