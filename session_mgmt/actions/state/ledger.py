"""Documents of one group of writes: accept updates from their logs alone.

An update costs O(change): a revision, a version, a receipt. No body is loaded: conflicts are found by the paths that
revisions have touched, and operations are total, so everything that was accepted can be applied later.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from session_mgmt.actions.clients import Fence
from session_mgmt.actions.outcome import Appended, Outcome, accept_write, refuse_write
from session_mgmt.actions.state import merge_rows, new_revisions, policies
from session_mgmt.actions.state.known_keys import KnownKeys
from session_mgmt.actions.state.locked_heads import LockedHead, LockedHeads
from session_mgmt.actions.state.merge_rows import MergeRecord
from session_mgmt.actions.state.new_revisions import Changed, NewRevision
from session_mgmt.actions.state.past_revisions import PastRevisions
from session_mgmt.actions.state.updates import Prepare, Reason, Update
from session_mgmt.documents import contested, merge, operations, pointer, touched
from session_mgmt.documents.limits import Extent
from session_mgmt.exceptions import (
    Conflict,
    DocumentNotFound,
    EpochChanged,
    NumberOutOfRange,
    TooOld,
    UnknownVersion,
)
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.logs import document_key


@dataclass(slots=True, eq=False)
class DocumentLedger:
    """Documents of one group of writes; ``most`` is the limit of the extent of each document."""

    sql: Statements
    most: Extent
    _heads: LockedHeads = field(init=False)
    _past: PastRevisions = field(init=False)
    _keys: KnownKeys = field(init=False)
    _merges: list[tuple[LockedHead, Fence | None, int, MergeRecord]] = field(default_factory=list)
    _revisions: list[NewRevision] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._heads = LockedHeads(self.sql)
        self._past = PastRevisions(self.sql, self._heads)
        self._keys = KnownKeys(self.sql, self._heads)

    def load(self, items: Iterable[Update], *, at: datetime, wait: bool) -> None:
        """Lock the heads, and read the paths that were touched since the oldest base."""
        updates = list(items)
        self._heads.load({update.document for update in updates}, wait=wait)
        # After the lock, or a revision could be written between the two reads and never be compared.
        self._past.load(updates)
        self._keys.load(updates)

    def has_locked(self) -> bool:
        return bool(self._heads.locked)

    def is_locked(self, item: Update) -> bool:
        return item.document in self._heads.locked

    def decide(self, update: Update, fence: Fence | None) -> Outcome | Prepare:
        """Accept the update as a new version, refuse it, or return a request to prepare it again."""
        head = self._heads.find(update.document)
        if head is None:
            return refuse_write(DocumentNotFound())
        # Before any comparison: a repeated key must get its first answer even if the document has changed since.
        answer = self._answer_early(update, head)
        if answer is not None:
            return answer
        if update.may_be_idle:
            if head.version:
                return Prepare(Reason.IDLE)
            # The document is `{}`, so it need not be read.
            update = _settle_first(update)
        # The update was computed from the document at this version; at another version it may mean something else.
        if update.at_version not in (None, head.version):
            if not self._still_holds(update, head):
                return Prepare(Reason.MOVED)
            # The size was measured at the earlier version. From here on only the bound is valid.
            update = update._replace(exact_size=None)
        theirs = self._list_theirs(update, fence, head)
        if not theirs:
            return self._accept(update, fence, head, {})
        contested_too = _add_contested(update, head, theirs)
        if contested_too is None:
            # The log alone cannot distinguish an append to an array from a member with that name.
            return Prepare(Reason.KINDS)
        overlap = merge.find_overlaps(update.paths, contested_too)
        settled = _apply_strategy(update, head, contested_too, overlap) if overlap else (update, {})
        if isinstance(settled, Outcome | Prepare):
            return settled
        return self._accept(settled[0], fence, head, settled[1])

    def write(self, at: datetime) -> None:
        """Write revisions, heads, and the rows that belong to merges."""
        new_revisions.write_revisions(self.sql, self._revisions, at)
        self._heads.write(at)
        for head, fence, version, record in self._merges:
            client = fence.client if fence else None
            merge_rows.write_merge(self.sql, head.vault, head.document, version, client, record, at)

    def list_appended(self, at: datetime) -> dict[str, Appended]:
        """Return the new entries by log key."""
        return new_revisions.group_entries(self._revisions)

    def list_changes(self) -> list[Changed]:
        """Return all new versions."""
        return new_revisions.list_changes(self._revisions)

    def list_lagging(self) -> list[int]:
        """Return the documents that are due for a snapshot."""
        return self._heads.list_lagging()

    def _answer_early(self, update: Update, head: LockedHead) -> Outcome | None:
        """Return the answer if the update must not be applied, regardless of what it changes; else ``None``."""
        if head.refusal is not None:
            return refuse_write(head.refusal)
        answer = self._keys.find_answer(update, head)
        if answer is not None:
            return answer
        if update.terms.if_absent and head.version:
            return accept_write(head.position, log=document_key(update.document), unchanged=True)
        return self._refuse_base(update, head)

    def _list_theirs(self, update: Update, fence: Fence | None, head: LockedHead) -> set[str]:
        """Return the paths that others have touched after the update's base. Merges were compared before, so they have
        none.
        """
        if update.terms.base is None or update.merge is not None:
            return set()
        return self._past.list_touched(head, update.terms.base, update, fence, update.paths)

    def _still_holds(self, update: Update, head: LockedHead) -> bool:
        """Return whether a merge that was computed from an earlier version would have the same result at this one."""
        made_at, merged = update.at_version, update.merge
        if made_at is None or merged is None or not merged.movable or made_at > head.version:
            return False
        mine = (*update.paths, *merged.paths)
        theirs = self._past.list_touched(head, made_at, update, None, mine)
        return not theirs or not (merge.find_overlaps(mine, theirs) or _may_contest(head, mine, theirs))

    def _refuse_base(self, update: Update, head: LockedHead) -> Outcome | None:
        terms = update.terms
        # First, because in another epoch neither the base nor its tag is valid.
        if terms.epoch is not None and terms.epoch != head.epoch:
            return refuse_write(EpochChanged(position=head.position.as_json()))
        if terms.base is None:
            return None
        if terms.base > head.version:
            return refuse_write(UnknownVersion(position=head.position.as_json()))
        # The version before the oldest revision can still be compared, because all later revisions are in the log.
        if terms.base < head.oldest - 1 or self._past.is_too_far(update.document, terms.base):
            return refuse_write(TooOld(position=head.position.as_json()))
        if terms.tag is not None and not self._past.is_proved(head, terms.base, terms.tag):
            # This version exists, but it belongs to another history: a backup was restored.
            return refuse_write(UnknownVersion(position=head.position.as_json()))
        return None

    def _accept(
        self, update: Update, fence: Fence | None, head: LockedHead, facts: dict[str, Any]
    ) -> Outcome | Prepare:
        if update.merge is not None:
            # Under the document's lock: the second of two updates that resolve one conflict must see that it is
            # resolved.
            refusal = merge_rows.find_refusal(self.sql, update.document, update.merge, head.position)
            if refusal is not None:
                return refuse_write(refusal)
            facts = update.merge.report
        if _is_range_open(update, head):
            return Prepare(Reason.RANGE)
        if update.dropped and update.terms.atomic:
            return refuse_write(NumberOutOfRange(position=head.position.as_json(), paths=sorted(set(update.dropped))))
        extent = head.extent.grow_by(update.growth) if update.exact_size is None else update.exact_size
        # Bounds only grow, so they may exceed the limit although the document fits; the next attempt has the exact
        # size.
        if update.paths and update.exact_size is None and not extent.fits_into(self.most):
            return Prepare(Reason.SIZE)
        # Without paths nothing changes, and a new version without changes would be sent to every reader.
        if update.paths:
            self._add_revision(update, fence, head, extent)
        else:
            facts = {"unchanged": True, **facts}
        if update.dropped:
            facts = {**facts, "dropped": sorted({*facts.get("dropped", ()), *update.dropped})}
        if update.merge is not None:
            # Without a revision there is no row that could contain the operations.
            record = update.merge if update.paths else replace(update.merge, asked=b"")
            self._merges.append((head, fence, head.version, record))
        return accept_write(head.position, log=document_key(update.document), **facts)

    def _add_revision(self, update: Update, fence: Fence | None, head: LockedHead, extent: Extent) -> None:
        # Only in memory: later updates of the group are decided on the head after this one (promises S3 and S4).
        head.advance(update.ops, extent, update.terms.writer)
        self._revisions.append(NewRevision(update, fence, head, head.version, head.chain, head.tag))
        # Later writes of this group must be compared with this revision too, although it is not in the database yet.
        self._past.add(head, fence, update.paths)
        self._keys.add(update, head)


def _settle_first(update: Update) -> Update:
    """Return the update for a document that was never written, which is `{}`. Replacing it sets a first value."""
    ops = operations.decode_ops(update.ops)
    is_idle = all(op[0] != "set" for op in ops) and not operations.apply_ops({}, ops)
    return update._replace(paths=()) if is_idle else update


def _is_range_open(update: Update, head: LockedHead) -> bool:
    """Return whether an `inc` may have no effect because of its range, and this was not checked yet."""
    is_known = update.dropped is not None and update.at_version in (None, head.version)
    return not is_known and head.extent.may_overflow(update.growth)


def _add_contested(update: Update, head: LockedHead, theirs: set[str]) -> set[str] | None:
    """Return the paths of others with the places that both sides contest; ``None`` if the document must be read."""
    if not theirs:
        return theirs
    arrays = policies.find_policy(head.name).arrays
    theirs = theirs | contested.list_rekeyed(update.paths, theirs, arrays)
    places = contested.find_places(update.paths, theirs)
    if not places:
        return theirs
    merged = contested.list_merged_arrays(places, arrays)
    if update.kinds is not None:
        return theirs | merged | {place.path for place in places if update.kinds.is_contested(place)}
    if update.at_version is not None:
        # Computed from the document and therefore not blind; the merge reports the rest.
        return theirs | {place.path for place in places}
    return theirs | merged if {place.path for place in places} <= merged else None


def _may_contest(head: LockedHead, mine: tuple[str, ...], theirs: set[str]) -> bool:
    """Return whether a merge must be computed again because of contested places that it could not know.

    It was computed from the document, so its appends are appends to arrays.
    """
    places = contested.find_places(mine, theirs)
    appends = {place for place in places if place.is_append}
    return places != appends or bool(contested.list_merged_arrays(appends, policies.find_policy(head.name).arrays))


def _may_be_lost(update: Update, theirs: set[str]) -> bool:
    """Return whether a blind operation may have no effect because others have changed a value that contains its
    place.
    """
    # Computed from the document, so each of its operations has its effect.
    if update.at_version is not None:
        return False
    places = {pointer.strip_mark(path) for path in theirs}
    ops = operations.decode_ops(update.ops)
    return any(above in places for op in ops for above in pointer.iter_ancestors(op[1]))


def _apply_strategy(
    update: Update, head: LockedHead, theirs: set[str], overlap: list[str]
) -> tuple[Update, dict[str, Any]] | Outcome | Prepare:
    """Resolve the overlap of an update from the log alone, if its strategy can; return it with facts for the
    receipt.
    """
    strategy = update.terms.strategy or policies.find_policy(head.name).strategy
    # An atomic update must not lose a part, so it is refused as a whole.
    if strategy == "reject" or (update.terms.atomic and strategy == "server_wins"):
        return refuse_write(Conflict(position=head.position.as_json(), paths=overlap))
    if strategy == "client_wins" and not _may_be_lost(update, theirs):
        return update._replace(kind="merge"), {"overwrote": overlap}
    if strategy != "server_wins":
        return Prepare(Reason.MERGE)
    kept, dropped = merge.drop_overlapping(operations.decode_ops(update.ops), theirs)
    rest = update._replace(kind="merge", ops=operations.encode_ops(kept), paths=touched.list_stored_paths(kept))
    return rest, {"dropped": sorted({op[1] for op in dropped})}
