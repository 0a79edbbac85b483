"""Tokens that the tabs of one browser share: what a page keeps in its storage, and the lock around it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults.sight import Frame

if TYPE_CHECKING:
    from tests.faults.tab import Tab

# Parts of its life after which a token is exchanged: early, so that a kill finds a refresh to interrupt without a long
# wait, and late, as by a browser that was asleep.
EARLIEST, LATEST = 0.3, 1.1
# However little of its life is left: the server may still be busy with what a connection asked before it was cut off.
LEAST_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Exchange:
    """Refresh token that is being exchanged, and the nonce that names the request."""

    token: str = field(repr=False)
    nonce: str = field(repr=False)

    @property
    def digests(self) -> dict[str, str]:
        return {"token": hash_secret(self.token), "nonce": hash_secret(self.nonce)}


class Wallet:
    """Newest pair of a session. `pending` is an exchange whose answer has not come; `last` is where the pair is from.

    `lock` is held by the one tab that exchanges. A wallet is `is_void` once its refresh token was refused.
    """

    def __init__(self, answer: Frame, chance: random.Random) -> None:
        self._chance = chance
        self.lock = asyncio.Lock()
        self.tabs: list[Tab] = []
        self.pending: Exchange | None = None
        self.last: Exchange | None = None
        self.is_void = False
        self._keep(answer)

    def _keep(self, answer: Frame) -> None:
        self.access: str = answer["access"]
        self.refresh: str = answer["refresh"]
        wait = self._chance.uniform(EARLIEST, LATEST) * answer["expires_in"]
        self._due_at = asyncio.get_running_loop().time() + max(wait, LEAST_SECONDS)

    @property
    def seconds_left(self) -> float:
        """Seconds until the pair is to be exchanged."""
        return max(0.0, self._due_at - asyncio.get_running_loop().time())

    @property
    def is_under_way(self) -> bool:
        return self.pending is not None and not self.is_void

    @property
    def is_behind(self) -> bool:
        """Tell whether a tab opens a connection with a token of before.

        The server knows two generations. Where one lives for minutes no connection takes as long as that; here it may.
        """
        return any(tab.opens_with not in {None, self.access} for tab in self.tabs)

    def begin(self) -> Exchange:
        """Keep a new exchange, before it is sent; or return the one that a tab has left without an answer."""
        if self.pending is None:
            self.pending = Exchange(self.refresh, make_nonce(self._chance))
        return self.pending

    def finish(self, answer: Frame) -> None:
        """Keep the next pair."""
        self.last, self.pending = self.pending, None
        self._keep(answer)

    def give_up(self) -> None:
        """Keep nothing more: the server has refused."""
        self.is_void = True


def make_nonce(chance: random.Random) -> str:
    return base64.urlsafe_b64encode(chance.randbytes(32)).rstrip(b"=").decode()


def hash_secret(secret: str) -> str:
    """Return what the database holds of a secret, and all that a history may hold."""
    return hashlib.sha256(secret.encode()).hexdigest()


def hash_pair(answer: Frame) -> dict[str, str | float]:
    """Return what a history holds of an answer with a pair."""
    return {
        "access": hash_secret(answer["access"]),
        "refresh": hash_secret(answer["refresh"]),
        "life": answer["expires_in"],
    }
