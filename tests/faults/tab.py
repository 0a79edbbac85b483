"""Client that is one tab of a browser: its access token ends within seconds, and the tabs exchange it for the next."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.faults.roaming import Roamer
from tests.faults.sight import Frame, Position, Write
from tests.faults.wallet import Exchange, Wallet, hash_pair, hash_secret

ANSWER_SECONDS = 30.0
# Answers of an HTTP server that promise another one later.
LATER = frozenset({429, 502, 503, 504})


@dataclass(eq=False, kw_only=True)
class Tab(Roamer):
    """Client on any transport with a kept pair of tokens. `rest` has the addresses of `tokens/refresh/`.

    It writes without pause while a refresh is under way, so that a kill then interrupts much; else as far as its
    `budget` goes.
    """

    wallet: Wallet
    http: httpx.AsyncClient
    rest: list[str]
    budget: int = 0
    opens_with: str | None = None
    _ids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _asked: dict[int, asyncio.Future[Frame]] = field(default_factory=dict)

    @property
    def token(self) -> str:
        return self.wallet.access

    def _note_token(self) -> None:
        """Note the token by which a socket or a poll begins: it may end with it."""
        self.history.add(self.name, "opens", access=hash_secret(self.token))

    async def open(self) -> ClientConnection:
        self._note_token()
        return await super().open()

    async def join(self) -> ClientConnection:
        self.opens_with = self.token
        try:
            return await super().join()
        finally:
            self.opens_with = None

    async def _poll(self) -> None:
        self._note_token()
        await super()._poll()

    async def _stream(self) -> None:
        self._note_token()
        await super()._stream()

    # Writing.

    def allow(self, writes: int) -> None:
        """Let it make so many writes, more or less."""
        self.budget = writes
        self.wake()

    def _may_write(self) -> bool:
        return super()._may_write() and (self.budget > 0 or self.wallet.is_under_way)

    def _number(self, write: Write, generation: int) -> None:
        self.budget -= 1
        super()._number(write, generation)

    # Tokens.

    async def keep_tokens(self) -> None:
        """Exchange the browser's tokens whenever they are due and no other tab does it."""
        while not self.wallet.is_void:
            await asyncio.sleep(self.wallet.seconds_left)
            async with self.wallet.lock:
                # Another tab may have held the lock for the same reason.
                if not self.wallet.seconds_left and not self.wallet.is_void:
                    await self._exchange_tokens()

    async def _exchange_tokens(self) -> None:
        """Ask until there is an answer, by any tab after the first try; then let the connections live on."""
        wallet = self.wallet
        while wallet.is_behind:
            await asyncio.sleep(0.02)
        exchange = wallet.begin()
        for tab in wallet.tabs:
            tab.wake()
        answer = await self._ask(exchange)
        while answer is None:
            await asyncio.sleep(self.chance.uniform(0.02, 0.1))
            answer = await self.chance.choice(wallet.tabs)._ask(exchange, again=True)
        if "access" not in answer:
            wallet.give_up()
            return
        wallet.finish(answer)
        # Before the next exchange begins: a request for this one that came after it would be one of a thief.
        await asyncio.gather(*(tab.live_on(exchange) for tab in wallet.tabs))

    async def live_on(self, exchange: Exchange) -> None:
        """Tell this tab's connection of the new tokens, or let it end with the old ones and open another."""
        if self._has_socket and self.chance.random() < 0.5:
            await self._ask(exchange, again=True, over="socket")

    @property
    def _has_socket(self) -> bool:
        return self.ready and self.socket is not None

    async def _ask(self, exchange: Exchange, *, again: bool = False, over: str = "") -> Frame | None:
        """Send an exchange once, over the open connection or by REST; None if nothing has come of it."""
        over = over or ("socket" if self._has_socket and self.chance.random() < 0.5 else "rest")
        self.history.add(self.name, "refresh", **exchange.digests, over=over, again=again)
        answer, why = await (self._ask_socket(exchange) if over == "socket" else self._ask_rest(exchange))
        if answer is None or answer.get("temporary"):
            self.history.add(self.name, "unanswered", nonce=hash_secret(exchange.nonce), why=why)
            return None
        if "access" in answer:
            self.history.add(self.name, "refreshed", **exchange.digests, over=over, **hash_pair(answer))
        else:
            self.history.add(self.name, "refused", nonce=hash_secret(exchange.nonce), name=answer.get("name"))
        return answer

    async def _ask_socket(self, exchange: Exchange) -> tuple[Frame | None, str]:
        socket = self.socket
        if socket is None:
            return None, "no socket"
        number, answer = next(self._ids), asyncio.get_running_loop().create_future()
        self._asked[number] = answer
        end = asyncio.create_task(socket.wait_closed())
        try:
            frame = {"type": "refresh", "id": number, "token": exchange.token, "nonce": exchange.nonce}
            await self._put(frame, socket)
            await asyncio.wait({answer, end}, timeout=ANSWER_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        except ConnectionClosed:
            return None, "closed"
        finally:
            end.cancel()
            del self._asked[number]
        return (answer.result(), "told to come again") if answer.done() else (None, "closed")

    async def _ask_rest(self, exchange: Exchange) -> tuple[Frame | None, str]:
        body = {"token": exchange.token, "nonce": exchange.nonce}
        try:
            response = await self.http.post(self.chance.choice(self.rest), json=body)
        except httpx.TransportError as error:
            return None, type(error).__name__
        if response.status_code in LATER:
            return None, str(response.status_code)
        found: Frame = response.json()
        return found, str(response.status_code)

    def take(self, frame: Frame, asked: dict[str, Position | None]) -> None:
        answer = self._asked.get(frame.get("id", 0))
        if answer is not None and frame["type"] in {"reply", "error"} and not answer.done():
            answer.set_result(frame)
            return
        super().take(frame, asked)
