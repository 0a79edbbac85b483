"""Devices of a user for a page: list the live sessions in a form for people, and end them.

To end a device also ends its login: otherwise its browser would still have Django's cookie, and would create a new
session within a second.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from session_mgmt.actions import audit
from session_mgmt.actions.access import Proof
from session_mgmt.actions.agents import name_agent
from session_mgmt.actions.sessions import connections, devices, logins
from session_mgmt.actions.timeline.proofs import check_proof
from session_mgmt.conf import settings
from session_mgmt.exceptions import SessionNotFound
from session_mgmt.models import ClientSession, clock
from session_mgmt.models.clock import as_text
from session_mgmt.models.isolation import open_transaction
from session_mgmt.user_code import call_sync, find_hook

logger = logging.getLogger(__name__)

DEVICE_ENDED = "device_ended"
# A longer page would help nobody; the limit of sessions is far lower.
MOST = 500


@dataclass(frozen=True, slots=True)
class Viewer:
    """Viewer of the list of devices: a session by its token, or a login by its cookie (``stamp`` is the digest of its
    stamp).

    ``proof`` is that token: it must still be valid when a device is ended.
    """

    user_id: Any = None
    session: uuid.UUID | None = None
    stamp: bytes | None = None
    user: Any = None
    ip: str | None = None
    tenant: str = ""
    proof: Proof | None = None


@dataclass(frozen=True, slots=True)
class Device:
    """Session in the form for its user. It contains no token, metadata, state or address, only the project's
    own place.
    """

    session_id: str
    label: str
    browser: str
    system: str
    place: str
    first_seen: datetime
    last_seen: datetime
    connection_state: str
    is_current: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the device as it is sent to clients."""
        moments = {"first_seen": as_text(self.first_seen), "last_seen": as_text(self.last_seen)}
        return {**asdict(self), **moments}


def list_devices(viewer: Viewer) -> list[Device]:
    """Return the live devices of the viewer's user, the current one first, then the most recently seen; a viewer
    without a user has none.
    """
    rows = list(_find_live(viewer).select_related("activity", "login").order_by("-activity__last_active_at")[:MOST])
    states = connections.read_states(row.pk for row in rows)
    found = [_describe(row, states[row.pk], viewer) for row in rows]
    return sorted(found, key=lambda device: not device.is_current)


def _find_live(viewer: Viewer) -> QuerySet[ClientSession]:
    live = ClientSession.objects.using(settings().database).filter(state=ClientSession.State.ACTIVE)
    # Sessions without a user have no sisters.
    return live.none() if viewer.user_id is None else live.filter(user=viewer.user_id, tenant=viewer.tenant)


def _describe(session: ClientSession, connection_state: str, viewer: Viewer) -> Device:
    agent = name_agent(session.user_agent)
    return Device(
        session_id=str(session.pk),
        label=session.label,
        browser=agent.browser,
        system=agent.system,
        place=find_place(session),
        first_seen=session.created_at,
        last_seen=session.activity.last_active_at,
        connection_state=connection_state,
        is_current=_is_current(session, viewer),
    )


def _is_current(session: ClientSession, viewer: Viewer) -> bool:
    if viewer.session is not None:
        return session.pk == viewer.session
    return viewer.stamp is not None and session.login is not None and bytes(session.login.digest) == viewer.stamp


def find_place(session: ClientSession) -> str:
    """Return the place of a session, as the project's ``place_of`` returns it; empty if there is none or it fails."""
    try:
        function = find_hook("place_of")
        place = "" if function is None else call_sync(function, session)
    except Exception:
        logger.exception("The place of a session could not be found")
        return ""
    return place[:200] if isinstance(place, str) else ""


def end_device(viewer: Viewer, session: uuid.UUID) -> None:
    """End a device of the viewer's user, with its login. Raises ``SessionNotFound`` for all other sessions."""
    row = _find_live(viewer).select_related("login").filter(pk=session).first()
    if row is None:
        raise SessionNotFound()
    _end_rows([row], viewer)


def end_others(viewer: Viewer) -> int:
    """End all devices of the viewer's user except the current one, and return the number of sessions."""
    rows = _find_live(viewer).select_related("login").order_by("pk")
    own = devices.find_login(settings().database, viewer.session)
    # All sessions of this browser's login are kept.
    others = [row for row in rows if not _is_current(row, viewer) and (own is None or row.login_id != own)]
    if others:
        _end_rows(others, viewer)
    _end_idle_logins(viewer)
    return len(others)


def _end_rows(rows: Sequence[ClientSession], viewer: Viewer) -> None:
    using = settings().database
    with open_transaction(using):
        check_proof(using, viewer.proof)
        devices.end_with_logins(using, {row.pk: row.login_id for row in rows}, DEVICE_ENDED, clock.read(using))
        audit.add_entries(audit.END_DEVICE, [row.pk for row in rows], user=viewer.user, ip=viewer.ip)


def _find_foreign_logins(viewer: Viewer) -> QuerySet[Any]:
    """Return the logins that have sessions of other tenants and none of the viewer's tenant; ended sessions
    count too.
    """
    theirs = ClientSession.objects.using(settings().database).filter(user=viewer.user_id).exclude(login=None)
    mine = theirs.filter(tenant=viewer.tenant)
    return theirs.exclude(login__in=mine.values("login")).values("login")


def _end_idle_logins(viewer: Viewer) -> None:
    """End the user's other logins that have no live sessions, because their browsers could create one at any time."""
    using = settings().database
    others = Q(user=viewer.user_id, ended_at=None) & ~Q(pk__in=_find_foreign_logins(viewer))
    if viewer.session is not None:
        mine = ClientSession.objects.using(using).filter(pk=viewer.session).values_list("login_id", flat=True)
        others &= ~Q(pk__in=[key for key in mine if key is not None])
    if viewer.stamp is not None:
        others &= ~Q(digest=viewer.stamp)
    with open_transaction(using):
        check_proof(using, viewer.proof)
        logins.end_logins(using, others, DEVICE_ENDED, clock.read(using))
