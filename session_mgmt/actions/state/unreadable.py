"""Refuse documents that cannot be read, and record them for the operator."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from django.db import DatabaseError

from session_mgmt.documents.errors import UnreadableBody as Damaged
from session_mgmt.exceptions import DocumentNotFound, SessionMgmtError, StateUnreadable
from session_mgmt.models import AuditEntry, StateDocument, clock
from session_mgmt.models.isolation import open_transaction

logger = logging.getLogger(__name__)

H = TypeVar("H")

ACTION = "state_unreadable"
# Clients try again and again; one entry an hour is enough.
_AGAIN = timedelta(hours=1)


@contextmanager
def audit_unreadable(using: str, document: int) -> Iterator[None]:
    """Turn damage that the block finds into ``StateUnreadable``, with an entry in the audit trail."""
    try:
        yield
    except Damaged as error:
        record_unreadable(using, document, str(error))
        raise StateUnreadable() from error
    except StateUnreadable as error:
        record_unreadable(using, document, str(error))
        raise


class Refusals:
    """Documents of a group that cannot be read or do not exist. Each has its own error, and the others go on."""

    def __init__(self, using: str) -> None:
        self._using = using
        self._errors: dict[int, SessionMgmtError] = {}

    def __contains__(self, document: int) -> bool:
        return document in self._errors

    def note(self, document: int, error: Damaged | StateUnreadable) -> None:
        """Refuse an unreadable document, with an entry in the audit trail."""
        record_unreadable(self._using, document, str(error))
        self._errors[document] = error if isinstance(error, StateUnreadable) else StateUnreadable()

    def sift(self, documents: Iterable[int], found: Mapping[int, H | StateUnreadable]) -> list[H]:
        """Return the values that were found for these documents, and refuse the other documents."""
        whole: list[H] = []
        for document in documents:
            head = found.get(document)
            if head is None:
                self._errors[document] = DocumentNotFound()
            elif isinstance(head, StateUnreadable):
                self.note(document, head)
            else:
                whole.append(head)
        return whole

    def require_all(self) -> None:
        """Raise the error of the first document that was refused, if any."""
        for error in self._errors.values():
            raise error


def record_unreadable(using: str, document: int, reason: str) -> None:
    """Record that a document could not be read; ``reason`` never contains content of the document."""
    logger.error("Document %d cannot be read: %s", document, reason)
    try:
        # A savepoint inside a caller's transaction, so that a failure undoes only this entry.
        with open_transaction(using):
            _write_audit_entry(using, document, reason)
    except DatabaseError:
        # The refusal is more important than its record.
        logger.exception("The audit trail could not be written")


def _write_audit_entry(using: str, document: int, reason: str) -> None:
    row = StateDocument.objects.using(using).filter(pk=document).values("session_id", "name", "version").first()
    if row is None:
        return
    now = clock.read(using)
    recent = AuditEntry.objects.using(using).filter(session=row["session_id"], action=ACTION, at__gt=now - _AGAIN)
    if any(entry.data.get("document") == row["name"] for entry in recent):
        return
    data = {"document": row["name"], "version": row["version"], "reason": reason}
    AuditEntry(action=ACTION, session=row["session_id"], data=data, at=now).save(using=using, force_insert=True)
