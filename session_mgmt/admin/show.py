"""Formatting of values for people."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from django.urls import reverse
from django.utils.formats import number_format
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from session_mgmt.admin.receipts import describe_receipt
from session_mgmt.documents import legible
from session_mgmt.models import ClientSession, Connection, SessionEvent
from session_mgmt.protocol.codes import Close

# CSS class of each mark in the timeline.
_TONES = {
    "session_created": "good",
    "connection_established": "good",
    "connection_restored": "good",
    "auth_success": "good",
    "connection_lost": "warn",
    "auth_required": "warn",
    "session_expired": "end",
    "session_terminated": "end",
    "auth_failed": "bad",
    "error_occurred": "bad",
}
_CLOSED_BY = {
    "client": gettext_lazy("by the client"),
    "server": gettext_lazy("by the server"),
    "lease": gettext_lazy("its server is gone"),
}
_STANDARD = {1000: "normal", 1001: "going_away", 1006: "lost", 1011: "internal_error", 1012: "service_restart"}


@dataclass(frozen=True, slots=True)
class EventLine:
    """One line of the timeline."""

    seq: int
    at: Any
    type: str
    tone: str
    facts: str


@dataclass(frozen=True, slots=True)
class ConnectionLine:
    """One connection with the facts that explain why it keeps dropping."""

    row: Connection
    is_open: bool
    lasted: str
    close: str
    receipt: str
    recovery: str
    closed_by: str
    latency: str
    spread: str
    traffic: str
    size: str


def as_json(value: Any, *, indent: int | None = 2) -> str:
    return json.dumps(value, indent=indent, ensure_ascii=False)


def event_line(event: SessionEvent) -> EventLine:
    data = orjson.loads(bytes(event.data))
    facts = as_json(data, indent=None) if data else ""
    return EventLine(event.seq, event.at, event.type, _TONES.get(event.type, "plain"), facts)


def connection_line(row: Connection, now: Any) -> ConnectionLine:
    is_open = row.closed_at is None and row.lease_expires_at > now
    # A process that died could not close its connections: such a connection ended with its lease at the latest.
    end = row.closed_at or min(now, row.lease_expires_at)
    return ConnectionLine(
        row=row,
        is_open=is_open,
        lasted=format_duration(end - row.opened_at),
        close=close_text(row, is_open),
        receipt=as_json(orjson.loads(row.receipt)) if row.receipt else "",
        recovery=describe_receipt(orjson.loads(row.receipt)) if row.receipt else "",
        closed_by="" if is_open else str(_CLOSED_BY.get(row.closed_by, row.closed_by)),
        latency=f"{row.rtt_ms:.0f} / {row.rtt_average_ms or row.rtt_ms:.0f} ms" if row.rtt_ms is not None else "-",
        spread=describe_spread(row),
        traffic=f"{row.messages_in} / {row.messages_out}",
        size=f"{format_size(row.bytes_in)} / {format_size(row.bytes_out)}",
    )


def describe_spread(row: Connection) -> str:
    """Describe how the round trip times of a connection vary; "" before the first one."""
    if row.rtt_p95_ms is None:
        return ""
    return _("p95 %(p95)d ms, jitter %(jitter)d ms") % {"p95": row.rtt_p95_ms, "jitter": row.rtt_jitter_ms or 0}


def close_text(row: Connection, is_open: bool) -> str:
    if is_open:
        return ""
    if row.close_code is None:
        return _("ended with the session") if row.closed_at else _("lease ran out")
    name = _STANDARD.get(row.close_code) or (
        Close(row.close_code).name.lower() if row.close_code in list(Close) else _("other")
    )
    return f"{row.close_code} {name}"


def format_place(path: str, most: int = 160) -> str:
    """Return a readable pointer; the root is ``/``."""
    shown, is_cut = legible.show_plainly(path or "/", most)
    return f"{shown}…" if is_cut else shown


def format_duration(value: timedelta) -> str:
    """Return the two largest parts: ``3 d 4 h``, ``4 min 10 s``."""
    seconds = max(int(value.total_seconds()), 0)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        count, seconds = divmod(seconds, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def format_age(value: timedelta) -> str:
    """Return ``just now`` or ``5 min ago``."""
    text = " ".join(format_duration(value).split()[:2])
    return _("just now") if value < timedelta(seconds=5) else _("%s ago") % text


def format_size(count: int) -> str:
    """Return ``512 B`` or ``5.0 MB``."""
    amount = float(count)
    for unit in ("B", "KB", "MB"):
        if amount < 1024:
            return f"{number_format(amount, 0 if unit == 'B' else 1)} {unit}"
        amount /= 1024
    return f"{number_format(amount, 1)} GB"


def format_bound(count: int, *, is_exact: bool) -> str:
    """Return the size of documents, marked if only an upper bound is known."""
    size = format_size(count)
    return size if is_exact else _("at most %s") % size


def format_fact(value: Any) -> str:
    """Return one fact of an audit entry; a list of numbers as ``1, 3``."""
    if isinstance(value, str):
        return value
    return ", ".join(map(format_fact, value)) if isinstance(value, list) else as_json(value, indent=None)


def label_cell(label: Any, value: Any) -> str:
    """Return a cell of a list with its label, because on a phone no column heading is visible."""
    return format_html('<span class="sm-label">{}</span> {}', label, value)


def link_session(session: ClientSession) -> str:
    """Return a cell with a link to the session and the name of its user."""
    address = reverse("admin:session_mgmt_clientsession_change", args=[session.pk])
    link = format_html('<a class="sm-line" href="{}">…{}</a>', address, str(session.pk)[-12:])
    return format_html('{} <span class="sm-under">{}</span>', link, name_owner(session))


def name_owner(session: ClientSession) -> str:
    """Return the name of the session's user."""
    return session.user.get_username() if session.user else _("nobody")


def name_device(label: str, user_agent: str, ip: str | None) -> str:
    """Return a short name of the device."""
    return label or name_browser(user_agent) or ip or "-"


def name_browser(user_agent: str) -> str:
    """Return ``Firefox on Android`` if the user agent is understood, otherwise its beginning."""
    program = next((name for mark, name in _PROGRAMS if mark in user_agent), user_agent[:40])
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return f"{program} on {system}" if system else program


# The order matters: every browser claims to be several others.
_PROGRAMS = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
