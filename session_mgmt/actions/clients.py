"""Clients: who may write, which number comes next, and the receipts that make a retry harmless.

One row per client is both guard and fence: whatever ends a right to write (a newer connection, a login, the session's
end) raises its ``generation``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from session_mgmt.actions import vaults
from session_mgmt.actions.outcome import Outcome, refused, replayed
from session_mgmt.exceptions import ReceiptGone, Replaced, SeqGap, SeqReused, StateUnreadable
from session_mgmt.models.sql import Row, Statements, marks

if TYPE_CHECKING:
    from session_mgmt.documents.sealing import Keyring

logger = logging.getLogger("session_mgmt.state")

# What stands in the column of a digest that is sealed.
_NO_DIGEST = bytes(32)
_CLIENT = "session_mgmt_client"
_RECEIPT = "session_mgmt_receipt"
_RECEIPT_COLUMNS = {"client_id": "bigint", "seq": "bigint", "digest": "bytea", "outcome": "bytea", "at": "timestamptz"}


@dataclass(frozen=True, slots=True)
class Fence:
    """A numbered write's claim. ``client`` is the row, ``name`` the public id, ``digest`` SHA-256 of what was asked,
    without its base.
    """

    client: int
    name: str
    generation: int
    seq: int
    digest: bytes


@dataclass(slots=True)
class _Client:
    generation: int
    last_seq: int
    moved: bool = False


class ClientLedger:
    """The clients of one group of writes."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements
        self._clients: dict[int, _Client] = {}
        self._receipts: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self._new: list[tuple[int, int, bytes, bytes]] = []
        self.locked: set[int] = set()

    def load(self, fences: Iterable[Fence], *, wait: bool) -> None:
        """Lock the clients and read the receipts that a repeated write may need."""
        claims = list(fences)
        wanted = {fence.client for fence in claims}
        rows = self._sql.select_locked("id, generation, last_seq", _CLIENT, wanted, wait=wait)
        self._clients = {row[0]: _Client(row[1], row[2]) for row in rows}
        self.locked = self._sql_existing(wanted - self._clients.keys()) if not wait else set()
        repeated = {
            (fence.client, fence.seq)
            for fence in claims
            if fence.client in self._clients and fence.seq <= self._clients[fence.client].last_seq
        }
        self._receipts = self._read_receipts(repeated)

    def decide(self, fence: Fence) -> Outcome | None:
        """``None`` lets the write pass; otherwise its answer: the stored one, or a refusal."""
        client = self._clients.get(fence.client)
        if client is None or fence.generation != client.generation:
            return refused(Replaced())
        if fence.seq > client.last_seq + 1:
            return refused(SeqGap(expected=client.last_seq + 1))
        if fence.seq <= client.last_seq:
            return self._answer_again(fence)
        return None

    def settle(self, fence: Fence, outcome: Outcome) -> None:
        """Keep the answer under its number; a temporary refusal leaves the number free."""
        if not outcome.is_final:
            return
        client = self._clients[fence.client]
        client.last_seq, client.moved = fence.seq, True
        self._receipts[fence.client, fence.seq] = (fence.digest, outcome.body)
        self._new.append((fence.client, fence.seq, fence.digest, outcome.body))

    def write(self, at: datetime) -> None:
        moment = self._sql.moment(at)
        ring = vaults.private() if self._new else None
        kept = self._new if ring is None else [_sealed(ring, receipt) for receipt in self._new]
        self._sql.insert(_RECEIPT, _RECEIPT_COLUMNS, [(*receipt, moment) for receipt in kept])
        moved: list[Row] = [(key, client.last_seq) for key, client in self._clients.items() if client.moved]
        self._sql.update(_CLIENT, {"id": "bigint", "last_seq": "bigint"}, moved)

    def _answer_again(self, fence: Fence) -> Outcome:
        stored = self._receipts.get((fence.client, fence.seq))
        if stored is None:
            return refused(ReceiptGone())
        try:
            digest, body = opened(fence.client, fence.seq, *stored)
        except StateUnreadable as error:
            logger.error("Receipt %d of client %d cannot be read: %s", fence.seq, fence.client, error)
            return refused(StateUnreadable(retry_after=60.0))
        return replayed(body) if digest == fence.digest else refused(SeqReused())

    def _read_receipts(self, wanted: set[tuple[int, int]]) -> dict[tuple[int, int], tuple[bytes, bytes]]:
        if not wanted:
            return {}
        pairs = sorted(wanted)
        rows = self._sql.fetch(
            f"SELECT client_id, seq, digest, outcome FROM {_RECEIPT} WHERE (client_id, seq) IN (VALUES "
            + ", ".join(["(%s, %s)"] * len(pairs))
            + ")",
            [value for pair in pairs for value in pair],
        )
        return {(row[0], row[1]): (bytes(row[2]), bytes(row[3])) for row in rows}

    def _sql_existing(self, keys: set[int]) -> set[int]:
        if not keys:
            return set()
        ordered = sorted(keys)
        return {
            row[0] for row in self._sql.fetch(f"SELECT id FROM {_CLIENT} WHERE id IN ({marks(len(ordered))})", ordered)
        }


def resealed(ring: Keyring, client: int, seq: int, digest: bytes, body: bytes) -> tuple[bytes, bytes]:
    """A receipt's two columns under the writing key. Raises ``StateUnreadable``."""
    return _sealed(ring, (client, seq, *opened(client, seq, digest, body)))[2:]


def _sealed(ring: Keyring, receipt: tuple[int, int, bytes, bytes]) -> tuple[int, int, bytes, bytes]:
    """The digest goes inside: in its column it would confirm guesses of what was written."""
    client, seq, digest, body = receipt
    return client, seq, _NO_DIGEST, vaults.seal_row(ring, vaults.RECEIPT, _owner(client), seq, digest + body)


def opened(client: int, seq: int, digest: bytes, body: bytes) -> tuple[bytes, bytes]:
    """A receipt's digest and outcome. Raises ``StateUnreadable``."""
    if not vaults.is_sealed(body):
        vaults.refuse_plain()
        return digest, body
    plain = vaults.open_row(vaults.RECEIPT, _owner(client), seq, body)
    return plain[: len(_NO_DIGEST)], plain[len(_NO_DIGEST) :]


def _owner(client: int) -> bytes:
    return client.to_bytes(8, "big")
