"""Paths that earlier revisions have touched, back to the oldest base of a group of updates."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from session_mgmt.actions import vaults
from session_mgmt.actions.clients import Fence
from session_mgmt.actions.state.locked_heads import LockedHead, LockedHeads
from session_mgmt.actions.state.updates import Update
from session_mgmt.actions.vaults import Vault
from session_mgmt.documents import chain, operations, touched
from session_mgmt.exceptions import StateUnreadable
from session_mgmt.models import tables
from session_mgmt.models.sql import Statements

# Comparing paths of this many bytes takes about 20 ms (measured), and no other write is decided in this time.
_COMPARED_BYTES = 512 * 1024
# Up to this many revisions are read without checking their sizes, because each has at most 500 paths.
_FEW_REVISIONS = 16


class PastRevision(NamedTuple):
    """Paths that one revision has touched, and the client that made it."""

    version: int
    client: int | None
    paths: tuple[str, ...]


@dataclass(slots=True)
class PastRevisions:
    """Revisions of the documents of one group, including those of the group itself."""

    sql: Statements
    heads: LockedHeads
    _past: dict[int, list[PastRevision]] = field(default_factory=dict)
    _tags: dict[tuple[int, int], str] = field(default_factory=dict)
    _floors: dict[int, int] = field(default_factory=dict)
    # Documents with an update that must be compared with others.
    _compared: set[int] = field(default_factory=set)

    def load(self, updates: Iterable[Update]) -> None:
        """Read the revisions after the oldest base of each document."""
        oldest: dict[int, int] = {}
        for update in updates:
            base = update.terms.base
            if base is None and update.merge is None:
                continue
            # Also for updates at the head, because an earlier update of the group may move the head.
            self._compared.add(update.document)
            head = self.heads.find(update.document)
            # Any other base is refused, or no revisions come after it.
            if head is not None and base is not None and head.oldest - 1 <= base < head.version:
                oldest[update.document] = min(base, oldest.get(update.document, base))
        if not oldest:
            return
        for document, base in oldest.items():
            oldest[document] = self._find_floor(document, base)
        where = " OR ".join(["(document_id = %s AND version >= %s)"] * len(oldest))
        rows = self.sql.fetch(
            f"SELECT document_id, version, client_id, paths, chain FROM {tables.REVISION}"
            f" WHERE {where} ORDER BY document_id, version",
            [value for pair in oldest.items() for value in pair],
        )
        for document, version, client, paths, link in rows:
            self._tags[document, version] = chain.make_tag(bytes(link))
            # The base itself is read only for its tag.
            if version > oldest[document]:
                self._open_revision(document, version, client, bytes(paths))
        for document, base in oldest.items():
            self._refuse_gap(document, base)

    def is_too_far(self, document: int, base: int) -> bool:
        """Return whether too many paths were touched after a base to compare them while other writes wait."""
        return base < self._floors.get(document, 0)

    def _find_floor(self, document: int, base: int) -> int:
        """Return the oldest base, not older than the requested one, since which few enough paths were touched."""
        head = self.heads.find(document)
        if head is None or head.version - base <= _FEW_REVISIONS:
            return base
        room = _COMPARED_BYTES
        sizes = f"SELECT version, LENGTH(paths) FROM {tables.REVISION} WHERE document_id = %s AND version > %s"
        for version, size in self.sql.fetch(f"{sizes} ORDER BY version DESC", [document, base]):
            # Begin with the newest revisions, because most clients have a base close to the head.
            room -= size
            if room < 0:
                self._floors[document] = version
                return int(version)
        return base

    def add(self, head: LockedHead, fence: Fence | None, paths: tuple[str, ...]) -> None:
        """Remember the revision that has just been accepted, if a later update of the group may be compared with it."""
        if head.document not in self._compared:
            return
        past = PastRevision(head.version, fence.client if fence else None, head.hide_paths(paths))
        self._past.setdefault(head.document, []).append(past)
        self._tags[head.document, head.version] = head.tag

    def is_proved(self, head: LockedHead, base: int, tag: str) -> bool:
        """Return whether ``tag`` is the tag of version ``base``, which the log still contains."""
        if base == head.version:
            return tag == head.tag
        # The revision is deleted, but the head has its chain.
        if base == head.oldest - 1:
            return tag == (chain.make_tag(head.before) if base else "")
        # A base between the ends of the log was read together with the revisions after it.
        return tag == self._tags.get((head.document, base))

    def list_touched(
        self, head: LockedHead, after: int, update: Update, fence: Fence | None, mine: tuple[str, ...]
    ) -> set[str]:
        """Return the paths that others have touched after a version, in a form that can be compared with ``mine``.

        Earlier writes of the same author are left out: the author knew them, even if they were not answered.
        """
        if after >= head.version:
            return set()
        theirs = {
            path
            for past in self._past.get(head.document, ())
            if past.version > after
            and (fence is None or past.client != fence.client)
            and past.version not in update.terms.own
            for path in past.paths
        }
        return theirs if head.vault is None or not theirs else _reveal_paths(head.vault, theirs, update, mine)

    def _open_revision(self, document: int, version: int, client: int | None, stored: bytes) -> None:
        head = self.heads.find(document)
        if head is None or head.refusal is not None:
            return
        try:
            paths = vaults.open_paths(head.vault, version, stored)
        except StateUnreadable as error:
            self.heads.refuse(head, error)
        else:
            self._past.setdefault(document, []).append(PastRevision(version, client, paths))

    def _refuse_gap(self, document: int, base: int) -> None:
        head = self.heads.find(document)
        if head is not None and head.refusal is None and len(self._past.get(document, ())) != head.version - base:
            # The missing revision may have touched any path, and its values would be overwritten without a merge.
            self.heads.refuse(head, StateUnreadable("A revision is missing."))


def _reveal_paths(vault: Vault, theirs: set[str], update: Update, mine: tuple[str, ...]) -> set[str]:
    """Return hashed paths in plain text, as far as the update contains them too."""
    known = {*mine, *touched.list_path_of_each(operations.decode_ops(update.ops))}
    return set(vault.reveal_paths(tuple(theirs), tuple(known)))
