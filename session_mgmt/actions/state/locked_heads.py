"""Heads of documents that one group of writes has locked."""

from __future__ import annotations

import hmac
import uuid
from dataclasses import dataclass, field
from datetime import datetime

from session_mgmt.actions import vaults
from session_mgmt.actions.state import unreadable
from session_mgmt.actions.vaults import Vault
from session_mgmt.conf import settings
from session_mgmt.documents import chain, rebuild
from session_mgmt.documents.limits import Extent, round_number
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import tables
from session_mgmt.models.sql import Row, Statements
from session_mgmt.protocol.position import Position

_COLUMNS = (
    "id, session_id, name, epoch, version, oldest_revision, size, log_bytes, chain, snapshot_version, oldest_chain,"
    " key_id, secret, keys, number_bound"
)
_WRITTEN_COLUMNS = {
    "id": "bigint",
    "version": "bigint",
    "chain": "bytea",
    "size": "bigint",
    "keys": "bigint",
    "number_bound": "bigint",
    "log_bytes": "bigint",
    "last_modified": "timestamptz",
    "last_writer": "text",
}
# A damaged document needs an operator, so clients need not try again soon.
_RETRY_SECONDS = 60.0


@dataclass(slots=True)
class LockedHead:
    """Head of one document, which advances with each update that the group accepts.

    ``owner`` is the session in the form of the database; ``before`` is the chain before revision ``oldest``. If
    ``refusal`` is set, the document cannot be read: its updates are refused, and updates of other documents are not
    affected.
    """

    document: int
    owner: uuid.UUID | str
    name: str
    epoch: str
    version: int
    oldest: int
    size: int
    keys: int
    number: int
    log_bytes: int
    chain: bytes
    snapshot_version: int
    before: bytes
    vault: Vault | None = None
    refusal: StateUnreadable | None = None
    tag: str = ""
    writer: str = ""
    moved: bool = False

    @property
    def session(self) -> uuid.UUID:
        return Statements.as_uuid(self.owner)

    @property
    def extent(self) -> Extent:
        return Extent(self.size, self.keys, self.number)

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.version, self.tag)

    def advance(self, ops: bytes, extent: Extent, writer: str) -> None:
        """Advance to the next version, which ``ops`` make."""
        self.version += 1
        self.chain = chain.advance_chain(self.chain, self.version, ops, self.vault.chain_key if self.vault else None)
        self.tag = chain.make_tag(self.chain)
        self.size, self.keys, self.number = extent
        self.writer, self.moved = writer, True
        # Encrypted operations have a few more bytes; they are counted exactly when the log is shortened.
        self.log_bytes += len(ops)

    def hide_request(self, request: bytes | None) -> bytes | None:
        """Return the digest of a request in its stored form.

        For an encrypted document it is keyed, because a plain digest could be used to confirm guesses of the content.
        """
        if request is None or self.vault is None:
            return request
        return hmac.digest(self.vault.digest_key, request, "sha256")

    def hide_paths(self, paths: tuple[str, ...]) -> tuple[str, ...]:
        """Return touched paths in the form in which they are compared."""
        # The log of an encrypted document contains hashed paths; equal paths have equal hashes.
        return paths if self.vault is None else self.vault.hide_paths(paths)


def is_lagging(pending: int, pending_bytes: int, size: int) -> bool:
    """Return whether a document with this many revisions after its last snapshot is due for a new one.

    It is due if readers would have to replay too much, or if the log will be shortened soon and needs a snapshot at its
    new beginning.
    """
    now = settings()
    if pending < now.snapshot_every:
        return False
    # Half of the limit, because a log is shortened only up to an existing snapshot.
    return pending > now.max_revisions // 2 or rebuild.is_long(pending, pending_bytes, size)


@dataclass(slots=True)
class LockedHeads:
    """Heads of the documents of one group. ``locked`` are documents that another transaction has locked."""

    sql: Statements
    locked: set[int] = field(default_factory=set)
    _heads: dict[int, LockedHead] = field(default_factory=dict)

    def load(self, wanted: set[int], *, wait: bool) -> None:
        """Lock the rows, and open the vaults of encrypted documents."""
        for row in self.sql.select_locked(_COLUMNS, tables.DOCUMENT, wanted, wait=wait):
            head = self._heads[row[0]] = _make_head(row)
            self._open_vault(head, row[11], bytes(row[12]))
        # A locked row that was skipped looks like a missing one, so the missing ones are searched for without a lock.
        self.locked = set() if wait else self._find_existing(wanted - self._heads.keys())

    def find(self, document: int) -> LockedHead | None:
        return self._heads.get(document)

    def refuse(self, head: LockedHead, error: StateUnreadable) -> None:
        """Refuse all updates of a document that cannot be read, and record this for the operator."""
        unreadable.record_unreadable(self.sql.connection.alias, head.document, str(error))
        head.refusal = StateUnreadable(retry_after=_RETRY_SECONDS)

    def write(self, at: datetime) -> None:
        """Write all heads that have advanced."""
        moment = self.sql.moment(at)
        self.sql.update(
            tables.DOCUMENT,
            _WRITTEN_COLUMNS,
            [_make_row(key, head, moment) for key, head in self._heads.items() if head.moved],
        )

    def list_lagging(self) -> list[int]:
        """Return the advanced documents that are due for a snapshot.

        The bytes of the whole log are counted, so a document may be listed too early; compaction checks it again.
        """
        return [
            key
            for key, head in self._heads.items()
            if head.moved and is_lagging(head.version - head.snapshot_version, head.log_bytes, head.size)
        ]

    def _open_vault(self, head: LockedHead, key_id: str, secret: bytes) -> None:
        # A document that must be encrypted but has no key is opened too, so that it is refused.
        if not key_id and not vaults.must_be_sealed(head.name):
            return
        try:
            head.vault = vaults.vault_of(head.document, head.session, head.name, key_id, secret)
        except StateUnreadable as error:
            self.refuse(head, error)

    def _find_existing(self, documents: set[int]) -> set[int]:
        return {row[0] for row in self.sql.select_rows("id", tables.DOCUMENT, sorted(documents))}


def _make_row(document: int, head: LockedHead, moment: object) -> Row:
    # Rounded, because this column is not encrypted even if the document is.
    number = round_number(head.number)
    return document, head.version, head.chain, head.size, head.keys, number, head.log_bytes, moment, head.writer


def _make_head(row: Row) -> LockedHead:
    document, owner, name, epoch, version, oldest, size, log_bytes, link, snapshot, before, _, _, keys, number = row
    head = LockedHead(
        document,
        owner,
        name,
        epoch,
        version,
        oldest,
        size,
        keys,
        number,
        log_bytes,
        bytes(link),
        snapshot,
        bytes(before),
    )
    head.tag = chain.make_tag(head.chain) if version else ""
    return head
