"""Documents: accepting updates from the log alone, and reading what the log adds up to.

Accepting costs O(change): a revision, a version, a receipt. No body is loaded: conflicts are found from the paths
that revisions touched, and operations are total, so whatever was acknowledged can be applied later.
"""

from __future__ import annotations

import hmac
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeAlias

from session_mgmt.actions import vaults
from session_mgmt.actions.clients import Fence
from session_mgmt.actions.outcome import Appended, Outcome, accept_write, refuse_write
from session_mgmt.actions.state import entries, merge_rows, policies, unreadable
from session_mgmt.actions.state.merge_rows import MergeRecord
from session_mgmt.actions.state.updates import Prepare, Reason, Update
from session_mgmt.actions.vaults import Vault
from session_mgmt.conf import settings
from session_mgmt.documents import chain, merge, operations, rebuild, touched
from session_mgmt.exceptions import (
    Conflict,
    DocumentNotFound,
    EpochChanged,
    KeyReused,
    StateUnreadable,
    TooOld,
    UnknownVersion,
)
from session_mgmt.models import tables
from session_mgmt.models.sql import Row, Statements
from session_mgmt.protocol.logs import Entry, document_key
from session_mgmt.protocol.position import Position

_REVISION_COLUMNS = {
    "document_id": "bigint",
    "version": "bigint",
    "client_id": "bigint",
    "seq": "bigint",
    "kind": "text",
    "ops": "bytea",
    "paths": "bytea",
    "chain": "bytea",
    "key": "text",
    "request": "bytea",
    "at": "timestamptz",
}
_HEAD_COLUMNS = {
    "id": "bigint",
    "version": "bigint",
    "chain": "bytea",
    "size": "bigint",
    "log_bytes": "bigint",
    "last_modified": "timestamptz",
    "last_writer": "text",
}


@dataclass(slots=True)
class LockedHead:
    session: uuid.UUID
    name: str
    epoch: str
    version: int
    oldest: int
    size: int
    log_bytes: int
    chain: bytes
    snapshot_version: int
    vault: Vault | None = None
    refusal: StateUnreadable | None = None
    tag: str = ""
    writer: str = ""
    moved: bool = False

    @property
    def position(self) -> Position:
        return Position(self.epoch, self.version, self.tag)

    def is_lagging(self) -> bool:
        # The bytes of the whole log: it does not matter that this says yes too often, for it is looked at again.
        return is_lagging(self.version - self.snapshot_version, self.log_bytes, self.size)


def is_lagging(pending: int, pending_bytes: int, size: int) -> bool:
    """Tell whether a document with so many revisions after its last snapshot is due for one: readers replay much, or
    the log will be cut and no snapshot would stand there.
    """
    now = settings()
    if pending < now.snapshot_every:
        return False
    return pending > now.max_revisions // 2 or rebuild.is_long(pending, pending_bytes, size)


@dataclass(frozen=True, slots=True)
class PastRevision:
    """What one revision touched, and which client made it."""

    version: int
    client: int | None
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class KnownKey:
    """What was done under a key, and for which request, if that was to be compared."""

    position: Position
    request: bytes | None


@dataclass(frozen=True, slots=True)
class Changed:
    """A new version, for signals and for the decision to take a snapshot."""

    document: int
    session: uuid.UUID
    name: str
    version: int
    paths: tuple[str, ...]
    writer: str


# Document, update, fence, version, operations, chain, tag and paths of a revision to be written.
_Row: TypeAlias = tuple[int, Update, Fence | None, int, bytes, bytes, str, tuple[str, ...]]


@dataclass(slots=True)
class DocumentLedger:
    """The documents of one group of writes; ``most_bytes`` is the size limit."""

    sql: Statements
    most_bytes: int
    _locked: set[int] = field(default_factory=set)
    _heads: dict[int, LockedHead] = field(default_factory=dict)
    _past: dict[int, list[PastRevision]] = field(default_factory=dict)
    _known: dict[tuple[int, str], KnownKey] = field(default_factory=dict)
    _merges: list[tuple[int, Fence | None, int, MergeRecord]] = field(default_factory=list)
    _rows: list[_Row] = field(default_factory=list)

    def load(self, items: Iterable[Update], *, at: datetime, wait: bool) -> None:
        """Lock the heads and read what was touched since the oldest base."""
        listed = list(items)
        wanted = {update.document for update in listed}
        rows = self.sql.select_locked(
            "id, session_id, name, epoch, version, oldest_revision, size, log_bytes, chain, snapshot_version, key_id,"
            " secret",
            tables.DOCUMENT,
            wanted,
            wait=wait,
        )
        for row in rows:
            head = self._heads[row[0]] = _make_head(self.sql.as_uuid(row[1]), row[2:10])
            head.tag = chain.make_tag(head.chain) if head.version else ""
            self._unlock(row[0], head, row[10], bytes(row[11]))
        self._locked = set() if wait else self._existing(wanted - self._heads.keys())
        self._load_past(listed)
        self._load_keys(listed)

    def is_locked(self, item: Update) -> bool:
        return item.document in self._locked

    def decide(self, update: Update, fence: Fence | None) -> Outcome | Prepare:
        """Give the update its version, or say why not."""
        head = self._heads.get(update.document)
        if head is None:
            return refuse_write(DocumentNotFound())
        if head.refusal is not None:
            return refuse_write(head.refusal)
        log = document_key(update.document)
        known = self._known.get((update.document, update.terms.key)) if update.terms.key else None
        if known is not None:
            return _answer_repetition(known, _hide_request(update.terms.request, head.vault), log)
        if update.terms.if_absent and head.version:
            return accept_write(head.position, log=log, unchanged=True)
        misfit = _find_misfit(update, head)
        if misfit is not None:
            return misfit
        if update.at_version not in (None, head.version):
            if not self._still_holds(update, fence, head):
                return Prepare(Reason.MOVED)
            update = replace(update, exact_size=None)
        theirs = self._theirs(update, fence, head) if update.merge is None else set()
        overlap = merge.find_overlaps(update.paths, theirs) if theirs else []
        settled = _apply_strategy(update, head, theirs, overlap) if overlap else (update, {})
        if not isinstance(settled, tuple):
            return settled
        return self._apply(settled[0], fence, head, settled[1])

    def _apply(self, update: Update, fence: Fence | None, head: LockedHead, facts: dict[str, Any]) -> Outcome | Prepare:
        if update.merge is not None:
            refusal = merge_rows.find_refusal(self.sql, update.document, update.merge, head.position)
            if refusal is not None:
                return refuse_write(refusal)
            facts = update.merge.report
        log = document_key(update.document)
        if update.paths and update.exact_size is None and head.size + update.growth > self.most_bytes:
            return Prepare(Reason.SIZE)
        if update.paths:
            self._accept(update, fence, head, update.ops, update.paths)
        else:
            facts = {"unchanged": True, **facts}
        if update.merge is not None:
            kept = update.merge if update.paths else replace(update.merge, asked=b"")
            self._merges.append((update.document, fence, head.version, kept))
        return accept_write(head.position, log=log, **facts)

    def write(self, at: datetime) -> None:
        self._write(at)
        for document, fence, version, merged in self._merges:
            client = fence.client if fence else None
            merge_rows.write_merge(self.sql, self._heads[document].vault, document, version, client, merged, at)

    def _write(self, at: datetime) -> None:
        moment = self.sql.moment(at)
        self.sql.insert(
            tables.REVISION,
            _REVISION_COLUMNS,
            [
                (
                    document,
                    version,
                    fence.client if fence else None,
                    fence.seq if fence else None,
                    update.kind,
                    *self._stored(document, version, ops, paths, merged=_is_asked_kept(update, fence)),
                    link,
                    update.terms.key,
                    _hide_request(update.terms.request, self._heads[document].vault),
                    moment,
                )
                for document, update, fence, version, ops, link, _, paths in self._rows
            ],
        )
        self.sql.update(
            tables.DOCUMENT,
            _HEAD_COLUMNS,
            [
                (key, head.version, head.chain, head.size, head.log_bytes, moment, head.writer)
                for key, head in self._heads.items()
                if head.moved
            ],
        )

    def list_appended(self, at: datetime) -> dict[str, Appended]:
        """What was written, by log key."""
        logs: dict[str, Appended] = {}
        for document, _, fence, version, ops, _, tag, _ in self._rows:
            key = document_key(document)
            log = logs.get(key)
            if log is None:
                log = logs[key] = Appended(self._heads[document].epoch, [])
            log.entries.append(Entry(version, tag, entries.make_entry_body(ops, fence.name if fence else None, fence)))
        return logs

    def changed(self) -> list[Changed]:
        """Every new version."""
        return [
            Changed(document, head.session, head.name, version, paths, update.terms.writer)
            for document, update, _, version, _, _, _, paths in self._rows
            if (head := self._heads[document])
        ]

    def lagging(self) -> list[int]:
        """Documents that are due for a snapshot."""
        return [key for key, head in self._heads.items() if head.moved and head.is_lagging()]

    def _accept(
        self, update: Update, fence: Fence | None, head: LockedHead, ops: bytes, paths: tuple[str, ...]
    ) -> None:
        head.version += 1
        head.chain = chain.advance_chain(head.chain, head.version, ops, head.vault.chain_key if head.vault else None)
        head.size = update.exact_size if update.exact_size is not None else head.size + update.growth
        head.log_bytes += len(ops)
        head.writer, head.moved = update.terms.writer, True
        head.tag = chain.make_tag(head.chain)
        self._rows.append((update.document, update, fence, head.version, ops, head.chain, head.tag, paths))
        touched_here = paths if head.vault is None else head.vault.hide_paths(paths)
        past = PastRevision(head.version, fence.client if fence else None, touched_here)
        self._past.setdefault(update.document, []).append(past)
        if update.terms.key:
            self._known[update.document, update.terms.key] = KnownKey(
                head.position, _hide_request(update.terms.request, head.vault)
            )

    def _theirs(self, update: Update, fence: Fence | None, head: LockedHead) -> set[str]:
        """Paths that others touched after the update's base.

        The client knew its own earlier writes, answered or not.
        """
        if update.terms.base is None:
            return set()
        return self._touched_after(update.terms.base, update, fence, head)

    def _touched_after(self, version: int, update: Update, fence: Fence | None, head: LockedHead) -> set[str]:
        if version >= head.version:
            return set()
        theirs = {
            path
            for past in self._past.get(update.document, ())
            if past.version > version
            and (fence is None or past.client != fence.client)
            and past.version not in update.terms.own
            for path in past.paths
        }
        return theirs if head.vault is None or not theirs else _reveal_paths(head.vault, theirs, update)

    def _still_holds(self, update: Update, fence: Fence | None, head: LockedHead) -> bool:
        """Tell whether a merge that was computed from an earlier version says the same of this one."""
        made_at, merged = update.at_version, update.merge
        if made_at is None or merged is None or not merged.movable or made_at > head.version:
            return False
        mine = (*update.paths, *merged.paths)
        theirs = self._touched_after(made_at, replace(update, paths=mine), None, head)
        return not theirs or not merge.find_overlaps(mine, theirs)

    def _unlock(self, document: int, head: LockedHead, key_id: str, secret: bytes) -> None:
        """Open an encrypted document. If that fails, its writes are refused and those of others go on."""
        try:
            head.vault = vaults.vault_of(document, head.session, head.name, key_id, secret)
        except StateUnreadable as error:
            self._refuse(document, head, error)

    def _refuse(self, document: int, head: LockedHead, error: StateUnreadable) -> None:
        unreadable.record_unreadable(self.sql.connection.alias, document, str(error))
        head.refusal = StateUnreadable(retry_after=60.0)

    def _stored(
        self, document: int, version: int, ops: bytes, paths: tuple[str, ...], *, merged: bool
    ) -> tuple[bytes, bytes]:
        """Operations and paths as a revision holds them."""
        vault = self._heads[document].vault
        sealed = ops if vault is None else vault.seal_ops(version, ops, merged=merged)
        return sealed, vaults.seal_paths(vault, version, paths)

    def _load_past(self, updates: list[Update]) -> None:
        oldest: dict[int, int] = {}
        for update in updates:
            head = self._heads.get(update.document)
            if (
                head is not None
                and update.terms.base is not None
                and head.oldest - 1 <= update.terms.base < head.version
            ):
                oldest[update.document] = min(update.terms.base, oldest.get(update.document, update.terms.base))
        if not oldest:
            return
        where = " OR ".join(["(document_id = %s AND version > %s)"] * len(oldest))
        rows = self.sql.fetch(
            f"SELECT document_id, version, client_id, paths FROM {tables.REVISION}"
            f" WHERE {where} ORDER BY document_id, version",
            [value for pair in oldest.items() for value in pair],
        )
        for document, version, client, paths in rows:
            self._learn(document, version, client, bytes(paths))
        for document, base in oldest.items():
            head = self._heads[document]
            if head.refusal is None and len(self._past.get(document, ())) != head.version - base:
                # What is not known to have been touched would be overwritten without a merge.
                self._refuse(document, head, StateUnreadable("A revision is missing."))

    def _learn(self, document: int, version: int, client: int | None, stored: bytes) -> None:
        head = self._heads[document]
        if head.refusal is not None:
            return
        try:
            paths = vaults.open_paths(head.vault, version, stored)
        except StateUnreadable as error:
            self._refuse(document, head, error)
        else:
            self._past.setdefault(document, []).append(PastRevision(version, client, paths))

    def _load_keys(self, updates: list[Update]) -> None:
        for update in updates:
            head = self._heads.get(update.document)
            if head is None or not update.terms.key:
                continue
            rows = self.sql.fetch(
                f'SELECT version, chain, request FROM {tables.REVISION} WHERE document_id = %s AND "key" = %s',
                [update.document, update.terms.key],
            )
            if rows:
                version, link, request = rows[0]
                position = Position(head.epoch, version, chain.make_tag(bytes(link)))
                self._known[update.document, update.terms.key] = KnownKey(
                    position, None if request is None else bytes(request)
                )

    def _existing(self, documents: set[int]) -> set[int]:
        if not documents:
            return set()
        among, params = self.sql.among("id", sorted(documents))
        return {row[0] for row in self.sql.fetch(f"SELECT id FROM {tables.DOCUMENT} WHERE {among}", params)}


def _is_asked_kept(update: Update, fence: Fence | None) -> bool:
    return merge_rows.is_asked_kept(fence.client if fence else None, update.merge)


def _reveal_paths(vault: Vault, theirs: set[str], update: Update) -> set[str]:
    """Stored paths as far as the update shares them, so that they can be compared with its own."""
    known = {*update.paths, *touched.list_path_of_each(operations.decode_ops(update.ops))}
    return set(vault.reveal_paths(tuple(theirs), tuple(known)))


def _answer_repetition(known: KnownKey, request: bytes | None, log: str) -> Outcome:
    """Return the answer to a repetition."""
    if request is not None and known.request is not None and request != known.request:
        return refuse_write(KeyReused(position=known.position.as_json()))
    return accept_write(known.position, log=log)


def _hide_request(request: bytes | None, vault: Vault | None) -> bytes | None:
    """Return a digest as it is stored: beside an encrypted document a plain one would confirm guesses of what was
    written.
    """
    return request if request is None or vault is None else hmac.digest(vault.digest_key, request, "sha256")


def _make_head(session: uuid.UUID, row: Row) -> LockedHead:
    name, epoch, version, oldest, size, log_bytes, link, snapshot = row
    return LockedHead(session, name, epoch, version, oldest, size, log_bytes, bytes(link), snapshot)


def _find_misfit(update: Update, head: LockedHead) -> Outcome | Prepare | None:
    if update.terms.epoch is not None and update.terms.epoch != head.epoch:
        return refuse_write(EpochChanged(position=head.position.as_json()))
    if update.terms.base is not None and update.terms.base > head.version:
        return refuse_write(UnknownVersion(position=head.position.as_json()))
    if update.terms.base is not None and update.terms.base < head.oldest - 1:
        return refuse_write(TooOld(position=head.position.as_json()))
    return None


def _apply_strategy(
    update: Update, head: LockedHead, theirs: set[str], overlap: list[str]
) -> tuple[Update, dict[str, Any]] | Outcome | Prepare:
    """What a strategy makes of an update that overlaps, with what the receipt tells, from the log alone if it can."""
    strategy = update.terms.strategy or policies.find_policy(head.name).strategy
    if strategy == "reject":
        return refuse_write(Conflict(position=head.position.as_json(), paths=overlap))
    if strategy == "client_wins":
        return replace(update, kind="merge"), {"overwrote": overlap}
    if strategy != "server_wins":
        return Prepare(Reason.MERGE)
    kept, dropped = merge.drop_overlapping(operations.decode_ops(update.ops), theirs)
    rest = replace(update, kind="merge", ops=operations.encode_ops(kept), paths=touched.list_paths(kept))
    return rest, {"dropped": sorted({op[1] for op in dropped})}
