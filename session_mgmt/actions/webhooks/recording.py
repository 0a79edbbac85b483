"""Record deliveries in the transaction of their events: a delivery exists if and only if its event exists."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from datetime import datetime
from time import monotonic
from typing import Any, Final, NamedTuple

import orjson

from session_mgmt.conf import settings
from session_mgmt.models import ClientSession, WebhookDelivery, WebhookEndpoint
from session_mgmt.models.clock import as_text
from session_mgmt.models.identifiers import new_tag
from session_mgmt.models.sql import Statements
from session_mgmt.models.tables import WEBHOOK_CURSOR, WEBHOOK_DELIVERY
from session_mgmt.protocol.events import MESSAGE

# Seconds for which a process uses its cached list of endpoints.
KNOWN_FOR: Final = 10.0

_CURSOR_COLUMNS = {
    "session_id": "uuid",
    "endpoint_id": "bigint",
    "head": "bigint",
    "done": "bigint",
    "next_at": "timestamptz",
    "leased_until": "timestamptz",
    "lease": "text",
}
_DELIVERY_COLUMNS = {
    "session_id": "uuid",
    "endpoint_id": "bigint",
    "sequence": "bigint",
    "event": "text",
    "payload": "bytea",
    "state": "text",
    "attempts": "bigint",
    "last_error": "text",
    "recorded_at": "timestamptz",
    "due_since": "timestamptz",
}


class Recorded(NamedTuple):
    """Recorded event; ``data`` is compact JSON."""

    session: uuid.UUID
    type: str
    data: bytes
    seq: int


class _Endpoint(NamedTuple):
    id: int
    events: frozenset[str]
    tenant: str

    def wants(self, event: Recorded, tenant: str) -> bool:
        return self.tenant == tenant and (not self.events or event.type in self.events)


class KnownEndpoints:
    """Cache of the active endpoints: each process reads them at most once every ten seconds.

    Therefore a change by another process takes effect here up to ten seconds later.
    """

    def __init__(self) -> None:
        self._until = 0.0
        self._found: tuple[_Endpoint, ...] = ()

    def list(self, using: str) -> tuple[_Endpoint, ...]:
        """Return the active endpoints."""
        now = monotonic()
        if now >= self._until:
            rows = WebhookEndpoint.objects.using(using).filter(active=True).values_list("pk", "events", "tenant")
            self._found = tuple(_Endpoint(pk, frozenset(events), tenant) for pk, events, tenant in rows)
            self._until = now + KNOWN_FOR
        return self._found

    def forget(self) -> None:
        """Clear the cache, so that the next event reads the endpoints again."""
        self._until = 0.0


known_endpoints = KnownEndpoints()


def put_deliveries(statements: Statements, events: Iterable[Recorded], at: datetime) -> None:
    """Write a delivery of each event for each endpoint that receives it. The caller has locked the events' sessions."""
    if not settings().webhooks:
        return
    told = [event for event in events if event.type != MESSAGE]
    if not told:
        return
    endpoints = known_endpoints.list(statements.connection.alias)
    if not endpoints:
        return
    owners = _read_owners(statements, {event.session for event in told})
    wanted = [
        (event, endpoint.id)
        for event in told
        for endpoint in endpoints
        if event.session in owners and endpoint.wants(event, owners[event.session][1])
    ]
    if wanted:
        _Run(statements, at).write(wanted, owners)


def _read_owners(statements: Statements, sessions: set[uuid.UUID]) -> dict[uuid.UUID, tuple[str | None, str]]:
    rows = ClientSession.objects.using(statements.connection.alias).filter(pk__in=sessions)
    return {
        pk: (None if user is None else str(user), tenant)
        for pk, user, tenant in rows.values_list("pk", "user", "tenant")
    }


class _Run:
    def __init__(self, statements: Statements, at: datetime) -> None:
        self._sql, self._at = statements, at

    def write(self, wanted: list[tuple[Recorded, int]], owners: dict[uuid.UUID, Any]) -> None:
        """Number the deliveries, and store them with their cursors."""
        pairs = {(self._sql.uuid(event.session), endpoint) for event, endpoint in wanted}
        keys = {"session_id": "uuid", "endpoint_id": "bigint"}
        rows = self._sql.select_pairs("t.session_id, t.endpoint_id, t.id, t.head", WEBHOOK_CURSOR, keys, pairs)
        # The cursors need no lock: `head` is written only under the lock of the session.
        cursors = {(self._sql.as_uuid(session), endpoint): pk for session, endpoint, pk, _ in rows}
        heads = {(self._sql.as_uuid(session), endpoint): head for session, endpoint, _, head in rows}
        moment = self._sql.moment(self._at)
        deliveries = []
        for event, endpoint in wanted:
            sequence = heads[event.session, endpoint] = heads.get((event.session, endpoint), 0) + 1
            body = encode_payload(event, endpoint, sequence, owners[event.session], self._at)
            session = self._sql.uuid(event.session)
            waiting = WebhookDelivery.State.WAITING.value
            deliveries.append((session, endpoint, sequence, event.type, body, waiting, 0, "", moment, moment))
        new = [
            (self._sql.uuid(place[0]), place[1], head, 0, moment, moment, "")
            for place, head in heads.items()
            if place not in cursors
        ]
        self._sql.insert(WEBHOOK_CURSOR, _CURSOR_COLUMNS, new)
        moved = sorted((pk, heads[place]) for place, pk in cursors.items())
        self._sql.update(WEBHOOK_CURSOR, {"id": "bigint", "head": "bigint"}, moved)
        self._sql.insert(WEBHOOK_DELIVERY, _DELIVERY_COLUMNS, deliveries)


def read_message_id(payload: bytes) -> str:
    """Return the id of a delivery, which is the same at each attempt."""
    return str(orjson.loads(payload)["id"])


def encode_payload(event: Recorded, endpoint: int, sequence: int, owner: tuple[str | None, str], at: datetime) -> bytes:
    """Return the body of a delivery, which is the same at each attempt, byte for byte."""
    user, tenant = owner
    return orjson.dumps(
        {
            # With a tag: after a backup was restored the same number is used again, and receivers that remember ids
            # must accept the new delivery.
            "id": f"{event.session}.{endpoint}.{sequence}.{new_tag()}",
            "type": event.type,
            "timestamp": as_text(at),
            "session_id": str(event.session),
            "user_id": user,
            "tenant": tenant,
            "seq": event.seq,
            "sequence": sequence,
            "data": orjson.Fragment(event.data),
        }
    )
