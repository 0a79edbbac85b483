"""Answer repeated requests that create a session: the same nonce gets the same session and the same pair."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError

from session_mgmt.actions.sessions import pairs, tokens
from session_mgmt.actions.sessions.lifecycle import Created
from session_mgmt.conf import settings
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import ClientSession, SessionEvent, clock
from session_mgmt.protocol.position import Position

ANSWERED_FOR = timedelta(hours=1)


def create_once(nonce: str, user: Any, create: Callable[[], Created], *, now: datetime | None = None) -> Created:
    """Return the session that ``create`` has made for this nonce, now or at an earlier attempt.

    Raises ``InvalidField`` for a nonce of another user, or an old one, and the errors of ``create``.
    """
    using = settings().database
    digest = tokens.hash_token(pairs.check_nonce(nonce))
    found = _find_session(using, digest)
    if found is None:
        try:
            return create()
        except IntegrityError:
            # The same request came twice at the same moment, and the other one has created the session.
            found = _find_session(using, digest)
            if found is None:
                raise
    return _answer_again(using, found, nonce, user, now or clock.read(using))


def _find_session(using: str, digest: bytes) -> ClientSession | None:
    return ClientSession.objects.using(using).select_related("activity").filter(nonce=digest).first()


def _answer_again(using: str, session: ClientSession, nonce: str, user: Any, now: datetime) -> Created:
    pair = pairs.tell_first_again(using, session, [nonce])
    is_old = now - session.created_at > ANSWERED_FOR
    if pair is None or is_old or session.user_id != (None if user is None else user.pk):
        raise InvalidField("This nonce was used before.", field="nonce")
    tokens.require_live(session, now)
    return Created(session, pair.access, _find_beginning(using, session), pair)


def _find_beginning(using: str, session: ClientSession) -> Position:
    """Return the beginning of the session's log, as in the first answer; its head, if the beginning is gone."""
    activity = session.activity
    first = SessionEvent.objects.using(using).filter(session=session, seq=1).values_list("tag", flat=True).first()
    if first is None:
        return Position(activity.epoch, activity.event_seq, activity.event_tag)
    return Position(activity.epoch, 1, first)
