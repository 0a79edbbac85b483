"""First rows of a session, built from its creator's arguments and not stored yet."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from session_mgmt.actions import checking
from session_mgmt.actions.addresses import veil_address
from session_mgmt.actions.sessions import pairs, tokens
from session_mgmt.actions.sessions.pairs import Origin, Pair
from session_mgmt.conf import settings
from session_mgmt.documents import strict
from session_mgmt.exceptions import InvalidField
from session_mgmt.models import ClientSession, SessionActivity, SessionEvent, Token
from session_mgmt.models.identifiers import new_epoch, new_tag
from session_mgmt.protocol import events as names
from session_mgmt.protocol.position import Position
from session_mgmt.registry import registry

# A shorter timeout could end a session between two writes of its activity, because activity is written with a delay.
MINIMUM_TIMEOUT = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Device:
    """Device of a session, as far as it is known. These values never prove who the client is."""

    label: str = ""
    ip: str | None = None
    user_agent: str = ""


def build_session(
    user: Any,
    metadata: dict[str, Any] | None,
    config: dict[str, Any] | None,
    device: Device | None,
    session_id: uuid.UUID | None,
    predecessor: ClientSession | None,
    nonce: str | None,
    now: datetime,
) -> ClientSession:
    """Build a session from its creator's arguments. Raises ``InvalidField``."""
    device = device or Device()
    session = ClientSession(
        user=user,
        metadata=check_object({} if metadata is None else metadata, "metadata"),
        config=check_object(config or {}, "config"),
        # Shorten long texts instead of refusing them, because they are only shown to people.
        label=device.label[:200],
        ip=veil_address(device.ip),
        user_agent=device.user_agent[:400],
        created_at=now,
        recovered_from=predecessor,
        nonce=None if nonce is None else tokens.hash_token(nonce),
    )
    if session_id is not None:
        session.id = session_id
    return session


def check_object(value: Any, name: str) -> dict[str, Any]:
    """Return a checked JSON object of limited size. Raises ``InvalidField``."""
    limit = settings().max_metadata_bytes
    checked: dict[str, Any] = checking.check_value(value)
    if not isinstance(checked, dict) or len(strict.dump_json(checked)) > limit:
        raise InvalidField(f"{name} is an object of at most {limit} bytes.", field=name)
    return checked


def make_first_rows(
    session: ClientSession, idle: timedelta, absolute: datetime, now: datetime
) -> tuple[SessionActivity, SessionEvent, Position]:
    """Return the first rows of a session, not stored yet, and the position of its log."""
    position = Position(new_epoch(), 1, new_tag())
    activity = SessionActivity(
        session=session,
        last_active_at=now,
        idle_seconds=int(idle.total_seconds()),
        absolute_deadline=absolute,
        expires_at=min(now + idle, absolute),
        epoch=position.epoch,
        # The first entry of the log is counted here, because no ledger writes for a row that does not exist yet.
        event_seq=1,
        event_tag=position.tag,
    )
    event = SessionEvent(
        session=session,
        seq=1,
        tag=position.tag,
        type=names.SESSION_CREATED,
        data=b"{}",
        pending=registry.is_durable(names.SESSION_CREATED),
        at=now,
    )
    return activity, event, position


def read_timeouts(config: dict[str, Any]) -> tuple[timedelta, timedelta]:
    """Return the idle and the absolute timeout of a config, or the defaults. Raises ``InvalidField``."""
    now = settings()
    idle = _read_timeout(config, "idle_timeout", now.idle_timeout)
    return idle, _read_timeout(config, "absolute_timeout", now.absolute_timeout)


def _read_timeout(config: dict[str, Any], name: str, most: timedelta) -> timedelta:
    value = config.get(name)
    if value is None:
        return most
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidField(f"{name} is a number of seconds.", field=name)
    if not MINIMUM_TIMEOUT.total_seconds() <= value <= most.total_seconds():
        raise InvalidField(f"{name} is from 60 to {most.total_seconds():.0f} seconds.", field=name)
    return timedelta(seconds=value)


def make_proofs(
    session: ClientSession, activity: SessionActivity, origin: Origin | None, now: datetime
) -> tuple[list[Token], tokens.Issued, Pair | None]:
    """Return the rows of the first tokens, the access token, and the pair if the client gets one."""
    if origin is None:
        # The token is valid for the retention after the end of the session, so that it can still recover it.
        expires = activity.absolute_deadline + settings().retention
        proof, token = tokens.make_token(session, expires_at=expires, now=now)
        return [proof], token, None
    rows, pair = pairs.make_pair(origin, session, activity, now)
    return rows, pair.access, pair
