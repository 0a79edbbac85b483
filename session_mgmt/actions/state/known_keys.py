"""Answers to updates that are repeated with the same key."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from session_mgmt.actions.outcome import Outcome, accept_write, refuse_write
from session_mgmt.actions.state.locked_heads import LockedHead, LockedHeads
from session_mgmt.actions.state.updates import Update
from session_mgmt.documents import chain
from session_mgmt.exceptions import KeyReused
from session_mgmt.models import tables
from session_mgmt.models.sql import Statements
from session_mgmt.protocol.logs import document_key
from session_mgmt.protocol.position import Position


@dataclass(frozen=True, slots=True)
class KnownKey:
    """Position of the version that an update with a key has made, and the digest of its request, or ``None`` if
    unknown.
    """

    position: Position
    request: bytes | None


@dataclass(slots=True)
class KnownKeys:
    """Keys of updates of one group that were used before, in the log or in the group itself."""

    sql: Statements
    heads: LockedHeads
    _known: dict[tuple[int, str], KnownKey] = field(default_factory=dict)

    def load(self, updates: Iterable[Update]) -> None:
        """Find the keys that are in the logs, with one query."""
        wanted = {(update.document, update.terms.key) for update in updates if update.terms.key}
        columns = {"document_id": "bigint", "key": "text"}
        rows = self.sql.select_pairs('document_id, "key", version, chain, request', tables.REVISION, columns, wanted)
        for document, key, version, link, request in rows:
            head = self.heads.find(document)
            if head is None:
                continue
            position = Position(head.epoch, version, chain.make_tag(bytes(link)))
            self._known[document, key] = KnownKey(position, None if request is None else bytes(request))

    def add(self, update: Update, head: LockedHead) -> None:
        """Remember the key of an update that the group has just accepted."""
        if update.terms.key:
            # A repetition may be in the same group, while its first attempt is in no table yet.
            known = KnownKey(head.position, head.hide_request(update.terms.request))
            self._known[update.document, update.terms.key] = known

    def find_answer(self, update: Update, head: LockedHead) -> Outcome | None:
        """Return the answer to a repeated update, or ``None`` if the update is new."""
        known = self._known.get((update.document, update.terms.key)) if update.terms.key else None
        if known is None:
            return None
        request = head.hide_request(update.terms.request)
        # Compare only if both have a digest: Python code may repeat a key without a digest of the first request.
        if request is not None and known.request is not None and request != known.request:
            return refuse_write(KeyReused(position=known.position.as_json()))
        return accept_write(known.position, log=document_key(update.document))
