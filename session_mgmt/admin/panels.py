"""Template context of the page of one session, built with a fixed number of queries."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

from django.http import HttpRequest

from session_mgmt.actions import access, audit, monitoring
from session_mgmt.actions.state import lookup
from session_mgmt.admin import content, receipts, show
from session_mgmt.conf import settings
from session_mgmt.models import (
    AuditEntry,
    ClientSession,
    Connection,
    SessionEvent,
    StateConflict,
    Subscription,
    clock,
)

EVENTS = 100
CONNECTIONS = 25


def build_panels(request: HttpRequest, session: ClientSession) -> dict[str, Any]:
    """Return the template's context for one session."""
    now = clock.read(settings().database)
    figures = monitoring.read_session_metrics(session.pk, now=now)
    may_see_state = request.user.has_perm(access.SEE_STATE)
    return {
        "session": session,
        "device": show.name_device(session.label, session.user_agent, session.ip),
        "figures": _build_cards(figures),
        "events": _list_events(session, before=content.parse_number(request.GET.get("before"))),
        "connections": _list_connections(session, now),
        "subscriptions": _list_topics(session),
        "audit": _list_audit(session.pk),
        "may_see_state": may_see_state,
        **(_list_documents(session) if may_see_state else {}),
        "metadata": show.as_json(session.metadata) if session.metadata else "",
        "config": show.as_json(session.config) if session.config else "",
    }


def _build_cards(figures: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return the label, value and remark of each figure."""
    latency = figures["latency"]
    last = "-" if latency["last_ms"] is None else f"{latency['last_ms']:.0f} ms"
    average = "" if latency["average_ms"] is None else f"{latency['average_ms']:.0f} ms on average"
    if latency["p95_ms"] is not None:
        average += f", p95 {latency['p95_ms']:.0f} ms, jitter {latency['jitter_ms'] or 0:.0f} ms"
    recoveries = ", ".join(
        f"{count} {receipts.name_verdict(name)}" for name, count in sorted(figures["recoveries"].items())
    )
    state = figures["state_documents"]
    return [
        ("Age", _format_time(figures["uptime"]), f"{_format_time(figures['connected_time'])} connected"),
        ("Connections", str(figures["connections"]), f"{figures['reconnects']} reconnects"),
        ("Recoveries", str(sum(figures["recoveries"].values())), recoveries),
        ("Latency", last, average),
        ("Beats", str(figures["beats"]["sent"]), f"{figures['beats']['missed']} missed"),
        (
            "Messages",
            str(figures["messages"]["in"] + figures["messages"]["out"]),
            f"{show.format_size(figures['bytes']['in'])} in, {show.format_size(figures['bytes']['out'])} out",
        ),
        ("State", show.format_bound(state["size"], is_exact=state["exact"]), f"{state['updates']} updates"),
        ("Errors", str(sum(figures["errors"].values())), ", ".join(sorted(figures["errors"]))),
    ]


def _format_time(seconds: float) -> str:
    return show.format_duration(timedelta(seconds=seconds))


def _list_events(session: ClientSession, *, before: int | None) -> dict[str, Any]:
    mine = SessionEvent.objects.using(settings().database).filter(session=session).order_by("-seq")
    if before is not None:
        mine = mine.filter(seq__lt=before)
    # Read one more than is shown, to know whether there are older ones.
    lines = [show.event_line(event) for event in mine[: EVENTS + 1]]
    more = len(lines) > EVENTS
    return {"lines": lines[:EVENTS], "before": lines[EVENTS - 1].seq if more else None, "paged": before is not None}


def _list_connections(session: ClientSession, now: Any) -> list[show.ConnectionLine]:
    mine = Connection.objects.using(settings().database).filter(session=session)
    newest = mine.select_related("client").order_by("-opened_at")[:CONNECTIONS]
    return [show.connection_line(row, now) for row in newest]


def _list_topics(session: ClientSession) -> list[str]:
    mine = Subscription.objects.using(settings().database).filter(session=session).order_by("topic")
    return list(mine.values_list("topic", flat=True)[: settings().max_subscriptions])


def _list_audit(session: uuid.UUID) -> list[AuditEntry]:
    """Return the audited actions on the session. Entries about looking at it are left out, or they would hide the
    others.
    """
    mine = AuditEntry.objects.using(settings().database).filter(session=session).exclude(action__in=audit.LOOKS)
    return list(mine.select_related("actor").order_by("-at")[:20])


def _list_documents(session: ClientSession) -> dict[str, Any]:
    """Return the heads of all documents. Their content is on pages of its own, which leave an audit entry."""
    rows = list(lookup.list_documents(session.pk)[: settings().max_documents])
    open_ones = StateConflict.objects.using(settings().database).filter(document__session=session, resolved_at=None)
    waiting = Counter(open_ones.values_list("document", flat=True))
    heads = [
        {
            "row": row,
            "size": show.format_bound(row.size, is_exact=row.snapshot_version == row.version),
            "waiting": waiting[row.pk],
        }
        for row in rows
    ]
    return {"documents": heads}
