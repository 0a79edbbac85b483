"""What a session holds, before and after."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import orjson
from django.db import connection

from session_mgmt.models import ClientSession, Publication, SessionEvent
from session_mgmt.shortcuts import state
from tests.api.calls import Caller

EVERYTHING = """
    SELECT 'document', name || epoch, version FROM session_mgmt_statedocument
    UNION ALL SELECT 'stream', topic, head FROM session_mgmt_stream
    UNION ALL SELECT 'events', CAST(session_id AS varchar(40)), event_seq FROM session_mgmt_sessionactivity
    UNION ALL SELECT 'facts', CAST(metadata AS text) || CAST(config AS text) || label, 0 FROM session_mgmt_clientsession
    UNION ALL SELECT 'outbox', '', COUNT(*) FROM session_mgmt_outbox
    UNION ALL SELECT 'subscriptions', '', COUNT(*) FROM session_mgmt_subscription
"""


@dataclass(frozen=True)
class Held:
    """``token``: a client of the session; ``root``: its user, logged in to the project."""

    session: ClientSession
    token: Caller
    root: Caller

    def everything(self) -> list[Any]:
        """Whatever a refused request might have changed, in one query: it is asked some thousand times."""
        with connection.cursor() as cursor:
            cursor.execute(EVERYTHING)
            return sorted(cursor.fetchall())

    def document(self, name: str = "main") -> Any:
        return state.get(self.session, name)

    def in_document(self) -> Any:
        return self.document()["a"]

    def alone_in_document(self) -> Any:
        """And gone afterwards: a merge would mix the next with it."""
        found = self.in_document()
        state.clear(self.session)
        return found

    def in_metadata(self) -> Any:
        told = self.token.get("sessions/{id}/")
        return json.loads(told.content)["metadata"]["a"]

    def in_newest_metadata(self) -> Any:
        newest = ClientSession.objects.latest("created_at")
        told = self.root.get(f"sessions/{newest.pk}/")
        return json.loads(told.content)["metadata"]["a"]

    def in_publication(self) -> Any:
        return orjson.loads(bytes(Publication.objects.latest("id").data))["a"]

    def in_message(self) -> Any:
        return orjson.loads(bytes(SessionEvent.objects.filter(type="message").latest("id").data))["a"]


def is_the_same(kept: Any, wanted: Any) -> bool:
    """Equal, and of the same types: 1 is neither true nor 1.0."""
    level = [(kept, wanted)]
    while level:
        one, other = level.pop()
        if type(one) is not type(other) or (not isinstance(one, dict | list) and one != other):
            return False
        if isinstance(one, dict):
            if one.keys() != other.keys():
                return False
            level += [(one[key], other[key]) for key in one]
        elif isinstance(one, list):
            if len(one) != len(other):
                return False
            level += list(zip(one, other, strict=True))
    return True
