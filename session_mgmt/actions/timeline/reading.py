"""Read a session's own log: how far it reaches, and pages of its entries."""

from __future__ import annotations

import uuid

from django.db.models import BigIntegerField, ExpressionWrapper, Sum, Window
from django.db.models.functions import Length

from session_mgmt.actions.timeline.ledger import encode_body
from session_mgmt.conf import settings
from session_mgmt.models import SessionActivity, SessionEvent
from session_mgmt.protocol.logs import Entry
from session_mgmt.protocol.position import Position
from session_mgmt.protocol.recovery import Window as LogWindow


def read_window(using: str, session: uuid.UUID, asked: int | None) -> LogWindow | None:
    """Return the log's window; one query, two if a client names an older place."""
    mine = SessionActivity.objects.using(using).filter(pk=session)
    row = mine.values_list("epoch", "event_seq", "event_tag", "oldest_event").first()
    if row is None:
        return None
    epoch, head, tag, oldest = row
    return LogWindow(Position(epoch, head, tag), oldest, _read_tag(using, session, asked, head))


def _read_tag(using: str, session: uuid.UUID, asked: int | None, head: int) -> str | None:
    if asked is None or not 0 < asked < head:
        return None
    mine = SessionEvent.objects.using(using).filter(session=session, seq=asked)
    return mine.values_list("tag", flat=True).first()


def read_page(using: str, session: uuid.UUID, after: int, limit: int) -> list[Entry]:
    """Return the entries after a number, oldest first: one page by number and by bytes."""
    later = SessionEvent.objects.using(using).filter(session=session, seq__gt=after).order_by("seq")[:limit]
    size = Length("data")
    before = ExpressionWrapper(Window(Sum(size), order_by="seq") - size, BigIntegerField())
    page = SessionEvent.objects.using(using).filter(pk__in=later.values("pk")).annotate(bytes_before=before)
    within = page.filter(bytes_before__lt=settings().replay_page_bytes).order_by("seq")
    rows = within.values_list("seq", "tag", "type", "data", "at")
    return [Entry(seq, tag, encode_body(type_, bytes(data), at)) for seq, tag, type_, data, at in rows]
