"""Fence clients and number their writes; receipts make a retry harmless.

One row per client is both guard and fence: whatever ends a right to write (a newer connection, a login, the session's
end) raises its ``generation``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from session_mgmt.actions import vaults
from session_mgmt.actions.outcome import Appended, Outcome, refuse_write, replay_answer
from session_mgmt.exceptions import ReceiptGone, Replaced, SeqGap, SeqReused, StateUnreadable
from session_mgmt.models.sql import Row, Statements
from session_mgmt.models.tables import CLIENT, RECEIPT

if TYPE_CHECKING:
    from session_mgmt.documents.sealing import Keyring

logger = logging.getLogger(__name__)

# Placeholder in the column of a digest that is encrypted with its receipt.
_NO_DIGEST = bytes(32)
_RECEIPT_COLUMNS = {"client_id": "bigint", "seq": "bigint", "digest": "bytea", "outcome": "bytea", "at": "timestamptz"}


class Fence(NamedTuple):
    """Claim of a numbered write: ``client`` is the row, ``name`` the public id, ``digest`` SHA-256 of the request,
    without its base.
    """

    client: int
    name: str
    generation: int
    seq: int
    digest: bytes


class Attached(NamedTuple):
    """Claim of a request without a number: ``client`` is the row, as of the ``generation`` by which it came."""

    client: int
    generation: int


def require_attached(statements: Statements, attached: Attached, *, hold: bool = False) -> None:
    """Require that a client has neither attached again since nor lost its rights; ``hold`` keeps it so until the end
    of the transaction. Raises ``Replaced``.
    """
    keys = [attached.client]
    if hold:
        rows = statements.select_locked("generation", CLIENT, keys, wait=True)
    else:
        rows = statements.select_rows("generation", CLIENT, keys)
    if rows != [(attached.generation,)]:
        raise Replaced()


@dataclass(slots=True)
class _Client:
    generation: int
    last_seq: int
    moved: bool = False


class ClientLedger:
    """Clients of one group of writes."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements
        self._clients: dict[int, _Client] = {}
        self._receipts: dict[tuple[int, int], tuple[bytes, bytes]] = {}
        self._new: list[tuple[int, int, bytes, bytes]] = []
        self._locked: set[int] = set()

    def load(self, items: Iterable[Fence], *, at: datetime, wait: bool) -> None:
        """Lock the clients and read the receipts that a repeated write may need."""
        claims = list(items)
        wanted = {fence.client for fence in claims}
        rows = self._sql.select_locked("id, generation, last_seq", CLIENT, wanted, wait=wait)
        self._clients = {row[0]: _Client(row[1], row[2]) for row in rows}
        # A locked row that was skipped looks like a missing one.
        self._locked = set() if wait else self._find_existing(wanted - self._clients.keys())
        # Only these can have a receipt, and in most groups there are none.
        repeated = {
            (fence.client, fence.seq)
            for fence in claims
            if fence.client in self._clients and fence.seq <= self._clients[fence.client].last_seq
        }
        self._receipts = self._read_receipts(repeated)

    def has_locked(self) -> bool:
        return bool(self._locked)

    def is_locked(self, item: Fence) -> bool:
        return item.client in self._locked

    def decide(self, fence: Fence) -> Outcome | None:
        """Return ``None`` to let the write pass, else its answer: the stored one, or a refusal."""
        client = self._clients.get(fence.client)
        # A newer connection of this client writes now. If both were answered, two writes could get the same number.
        if client is None or fence.generation != client.generation:
            return refuse_write(Replaced())
        # An earlier number is missing, and accepting this one would change the client's order.
        if fence.seq > client.last_seq + 1:
            return refuse_write(SeqGap(expected=client.last_seq + 1))
        if fence.seq <= client.last_seq:
            return self._answer_again(fence)
        return None

    def is_fenced(self, fence: Fence) -> bool:
        """Return whether the client has another generation by now."""
        client = self._clients.get(fence.client)
        return client is not None and client.generation != fence.generation

    def take_over(self, fence: Fence) -> Fence:
        """Return the claim for the client's present attachment: a message may outlive the one that it came by."""
        client = self._clients.get(fence.client)
        return fence if client is None else fence._replace(generation=client.generation)

    def keep_answer(self, fence: Fence, outcome: Outcome) -> None:
        """Store the answer under its number; a temporary refusal leaves the number free."""
        # If it were stored, it would be the final answer, and the client could not try again.
        if not outcome.is_final:
            return
        client = self._clients[fence.client]
        # In memory: the next write of this client in the group is judged by it.
        client.last_seq, client.moved = fence.seq, True
        # A repetition in the same group finds its answer here.
        self._receipts[fence.client, fence.seq] = (fence.digest, outcome.body)
        self._new.append((fence.client, fence.seq, fence.digest, outcome.body))

    def list_appended(self, at: datetime) -> dict[str, Appended]:
        """Return nothing: receipts go to their clients and to no log."""
        return {}

    def write(self, at: datetime) -> None:
        moment = self._sql.moment(at)
        ring = vaults.find_private_keyring() if self._new else None
        kept = self._new if ring is None else [_seal_receipt(ring, receipt) for receipt in self._new]
        self._sql.insert(RECEIPT, _RECEIPT_COLUMNS, [(*receipt, moment) for receipt in kept])
        moved: list[Row] = [(key, client.last_seq) for key, client in self._clients.items() if client.moved]
        self._sql.update(CLIENT, {"id": "bigint", "last_seq": "bigint"}, moved)

    def _answer_again(self, fence: Fence) -> Outcome:
        stored = self._receipts.get((fence.client, fence.seq))
        if stored is None:
            # It was confirmed by the client and deleted, so this is no honest repetition.
            return refuse_write(ReceiptGone())
        try:
            digest, body = open_receipt(fence.client, fence.seq, *stored)
        except StateUnreadable as error:
            logger.error("Receipt %d of client %d cannot be read: %s", fence.seq, fence.client, error)
            return refuse_write(StateUnreadable(retry_after=60.0))
        # The same number with another content is another write; its first answer would be a lie.
        return replay_answer(body) if digest == fence.digest else refuse_write(SeqReused())

    def _read_receipts(self, wanted: set[tuple[int, int]]) -> dict[tuple[int, int], tuple[bytes, bytes]]:
        key = {"client_id": "bigint", "seq": "bigint"}
        rows = self._sql.select_pairs("client_id, seq, digest, outcome", RECEIPT, key, wanted)
        return {(row[0], row[1]): (bytes(row[2]), bytes(row[3])) for row in rows}

    def _find_existing(self, keys: set[int]) -> set[int]:
        return {row[0] for row in self._sql.select_rows("id", CLIENT, keys)}


def reseal_receipt(ring: Keyring, client: int, seq: int, digest: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return a receipt's two columns under the writing key. Raises ``StateUnreadable``."""
    return _seal_receipt(ring, (client, seq, *open_receipt(client, seq, digest, body)))[2:]


def _seal_receipt(ring: Keyring, receipt: tuple[int, int, bytes, bytes]) -> tuple[int, int, bytes, bytes]:
    """Seal a receipt with its digest inside: in its column that would confirm guesses of the content."""
    client, seq, digest, body = receipt
    return client, seq, _NO_DIGEST, vaults.seal_row(ring, vaults.RECEIPT, _as_owner(client), seq, digest + body)


def open_receipt(client: int, seq: int, digest: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Return a receipt's digest and outcome. Raises ``StateUnreadable``."""
    if not vaults.is_sealed(body):
        # Somebody with access to the table could otherwise put a plain receipt in place of a sealed one.
        vaults.refuse_plain()
        return digest, body
    plain = vaults.open_row(vaults.RECEIPT, _as_owner(client), seq, body)
    return plain[: len(_NO_DIGEST)], plain[len(_NO_DIGEST) :]


def _as_owner(client: int) -> bytes:
    return client.to_bytes(8, "big")
