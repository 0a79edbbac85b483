"""Read every row of a document and list its damage: gaps, broken chains, damaged or unreadable bodies, rows under
another key; and every receipt and outbox entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from django.db import connections

from session_mgmt.actions import clients, outbox, vaults
from session_mgmt.actions.state import merge_rows, stored_rows
from session_mgmt.actions.state.stored_rows import StoredHead
from session_mgmt.conf import settings
from session_mgmt.documents import chain, operations, rebuild, size
from session_mgmt.documents.errors import DocumentError
from session_mgmt.documents.rebuild import Parts
from session_mgmt.documents.values import JSON, are_equal
from session_mgmt.exceptions import DocumentNotFound, StateUnreadable
from session_mgmt.models import Outbox, Receipt, StateConflict, StateDocument, StateRevision, StateSnapshot, tables
from session_mgmt.models.sql import Statements

PAGE = 500
# A document that is written to or compacted while it is read is read again.
_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One piece of damage.

    ``row`` is ``document``, ``revision``, ``snapshot`` or ``conflict``; ``problem`` a stable word
    (``docs/reference/commands.md``). Rows without a document have the ``document`` 0, and for ``version`` a ``receipt``
    has its number and an ``outbox_entry`` its row.
    """

    document: int
    row: str
    version: int
    problem: str
    detail: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def list_documents(names: list[str] | None = None) -> Iterator[int]:
    """Yield the rows of all documents, or of those with these names, by id."""
    rows = StateDocument.objects.using(settings().database).order_by("pk")
    wanted = rows if names is None else rows.filter(name__in=names)
    after = 0
    while page := list(wanted.filter(pk__gt=after).values_list("pk", flat=True)[:PAGE]):
        yield from page
        after = page[-1]


def is_document(document: int) -> bool:
    """Return whether there is a document with this row."""
    return StateDocument.objects.using(settings().database).filter(pk=document).exists()


def is_name(name: str) -> bool:
    """Return whether there is a document of this name."""
    # What a shell hands on that is no UTF-8, no database takes.
    is_text = name.encode(errors="replace").decode() == name
    return is_text and StateDocument.objects.using(settings().database).filter(name=name).exists()


def verify_document(document: int) -> list[Finding]:
    """List all damage of one document, in the order of its versions; it is only read."""
    statements = Statements(connections[settings().database])
    found: list[Finding] = []
    for _ in range(_ATTEMPTS):
        before = _read_mark(statements, document)
        found = _verify_once(statements, document)
        # Damage that shows while somebody writes may be two moments mixed; it counts if nothing has moved.
        if not found or _read_mark(statements, document) == before:
            return found
    return found


def _read_mark(statements: Statements, document: int) -> Any:
    columns = "version, oldest_revision, snapshot_version, key_id"
    return statements.fetch(f"SELECT {columns} FROM {tables.DOCUMENT} WHERE id = %s", [document])


def _verify_once(statements: Statements, document: int) -> list[Finding]:
    try:
        head = stored_rows.read_head(statements, document)
    except StateUnreadable as error:
        return [Finding(document, "document", 0, "unreadable", error.detail)]
    except DocumentNotFound:
        return []
    return _Check(head).run()


def verify_loose_rows() -> Iterator[Finding]:
    """Yield the damage of receipts and outbox entries, which belong to no document."""
    using = settings().database
    for receipt in Receipt.objects.using(using).order_by("pk").iterator(PAGE):
        try:
            clients.open_receipt(receipt.client_id, receipt.seq, bytes(receipt.digest), bytes(receipt.outcome))
        except StateUnreadable as error:
            yield Finding(0, "receipt", receipt.seq, "unreadable", f"client {receipt.client_id}: {error}")
    for entry in Outbox.objects.using(using).filter(kind=outbox.UPDATE).order_by("pk").iterator(PAGE):
        try:
            outbox.open_payload(entry.pk, entry.target, entry.key, bytes(entry.payload))
        except StateUnreadable as error:
            yield Finding(0, "outbox_entry", entry.pk, "unreadable", str(error))


class _Check:
    """State of one pass over a document."""

    def __init__(self, head: StoredHead) -> None:
        self._head = head
        self._using = settings().database
        self._found: list[Finding] = []
        self._revisions: dict[int, bytes] = {}
        self._values: dict[int, JSON] = {}

    def run(self) -> list[Finding]:
        self._check_revisions()
        self._check_snapshots()
        self._check_conflicts()
        self._check_sum()
        return sorted(self._found, key=lambda finding: (finding.version, finding.row))

    def _tell(self, row: str, version: int, problem: str, detail: str = "") -> None:
        self._found.append(Finding(self._head.document, row, version, problem, detail))

    def _check_revisions(self) -> None:
        head, expected = self._head, self._head.oldest
        link: bytes | None = head.before
        rows = StateRevision.objects.using(self._using).filter(document=head.document).order_by("version")
        for row in rows.iterator(PAGE):
            if row.version < head.oldest or row.version > head.position.offset:
                self._tell("revision", row.version, "outside", "not between the oldest revision and the head")
                continue
            if row.version != expected:
                self._tell("revision", expected, "gap", f"missing up to {row.version - 1}")
            # After a gap there is nothing to compare with, but the revisions behind it are checked among themselves.
            link = self._check_link(row, link if row.version == expected else None)
            expected = row.version + 1
        if expected <= head.position.offset:
            self._tell("revision", expected, "gap", f"missing up to {head.position.offset}")
        elif link is not None and link != head.chain:
            self._tell("document", head.position.offset, "bad_chain", "the head does not end its log")

    def _check_link(self, row: StateRevision, link: bytes | None) -> bytes:
        """Return the chain after a revision as it is stored, so that one break is reported once."""
        stands = bytes(row.chain)
        beside = None if row.asked is None else bytes(row.asked)
        try:
            ops, asked = vaults.open_merge(self._head.vault, row.version, bytes(row.ops), beside)
            operations.decode_ops(ops)
            operations.decode_ops(asked or ops)
            vaults.open_paths(self._head.vault, row.version, bytes(row.paths))
        except (StateUnreadable, DocumentError) as error:
            self._tell("revision", row.version, "unreadable", str(error))
            return stands
        self._check_keys("revision", row.version, (bytes(row.ops), beside))
        self._revisions[row.version] = ops
        key = self._head.vault.chain_key if self._head.vault else None
        if link is not None and chain.advance_chain(link, row.version, ops, key) != stands:
            self._tell("revision", row.version, "bad_chain", "it does not follow from the one before")
        return stands

    def _check_keys(self, row: str, version: int, columns: Iterable[bytes | None]) -> None:
        if self._head.vault is not None:
            for key_id in sorted({vaults.key_id_of(column) for column in columns if column is not None}):
                self._check_key(row, version, key_id)

    def _check_key(self, row: str, version: int, key_id: str) -> None:
        if key_id != self._head.key_id:
            self._tell(row, version, "other_key", f"it is under {key_id}")

    def _check_conflicts(self) -> None:
        rows = StateConflict.objects.using(self._using).filter(document=self._head.document).order_by("version", "pk")
        for row in rows.iterator(PAGE):
            try:
                merge_rows.open_conflict(self._head.vault, row)
            except StateUnreadable as error:
                self._tell("conflict", row.version, "unreadable", f"{row.pk}: {error}")
                continue
            self._check_keys("conflict", row.version, merge_rows.read_columns(row))

    def _check_snapshots(self) -> None:
        head, limit = self._head, stored_rows.body_limit()
        # One by one, by key: each may hold 5 MB.
        rows = StateSnapshot.objects.using(self._using).filter(document=head.document)
        for key in list(rows.order_by("version", "pk").values_list("pk", flat=True)):
            row = rows.get(pk=key)
            try:
                body = stored_rows.open_snapshot(
                    head.vault, row.version, row.codec, row.key_id, bytes(row.nonce), bytes(row.body)
                )
                value = rebuild.build_value(Parts((), limit, row.codec, body, bytes(row.digest), head.digest_key))
            except (StateUnreadable, DocumentError) as error:
                self._tell("snapshot", row.version, "unreadable", str(error))
                continue
            self._check_key("snapshot", row.version, row.key_id)
            if row.version > head.position.offset:
                self._tell("snapshot", row.version, "outside", "beyond the head")
            elif row.version in self._values and not are_equal(self._values[row.version], value):
                self._tell("snapshot", row.version, "bad_snapshot", "two of one version differ")
            self._values.setdefault(row.version, value)

    def _check_sum(self) -> None:
        """Add the log up from where it begins, past every snapshot."""
        head = self._head
        start = head.oldest - 1
        if start and start not in self._values:
            self._tell("snapshot", start, "no_anchor", "there is no snapshot where the log begins")
            return
        row = StateDocument.objects.using(self._using).get(pk=head.document)
        value: JSON = self._values.get(start, {})
        for version in range(start, head.position.offset + 1):
            if version > start:
                if version not in self._revisions:
                    return
                value = operations.apply_ops(value, operations.decode_ops(self._revisions[version]))
            self._check_version(row, version, value)
        if not size.measure_extent(value).fits_into(head.extent):
            self._tell("document", head.position.offset, "bad_size", "it is larger than its row says")

    def _check_version(self, row: StateDocument, version: int, value: JSON) -> None:
        if version in self._values and not are_equal(self._values[version], value):
            self._tell("snapshot", version, "bad_snapshot", "it is not the sum of the log")
        summed = row.checksum and version == row.checksum_version
        if summed and rebuild.compute_value_checksum(value, self._head.digest_key) != row.checksum:
            self._tell("document", version, "bad_checksum", "it is not that of the document")
