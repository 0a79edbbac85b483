"""Remembers how a session reads a list, in its document ``main`` at ``/pages/<name>``, which is an ordinary value."""

from __future__ import annotations

import logging
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import QueryDict
from rest_framework.request import Request

from session_mgmt.actions.state import lookup
from session_mgmt.api.errors import outages
from session_mgmt.documents.pointer import escape_token
from session_mgmt.exceptions import SessionMgmtError
from session_mgmt.models import ClientSession
from session_mgmt.writes import verbs

logger = logging.getLogger(__name__)

DOCUMENT, MEMBER = "main", "pages"
# The session chooses its query, and must not store data in it.
_MOST_QUERY = 8000


def fill_query(session: ClientSession, name: str, request: Request, paginator: Any) -> bool:
    """Fill an empty request with what the session asked for before; return True if anything was filled in."""
    if request.query_params:
        return False
    kept = _read_kept(session, name)
    query = QueryDict(mutable=True)
    for member, parameter in (("page_size", paginator.page_size_query_param), ("ordering", "ordering")):
        if isinstance(value := kept.get(member), str):
            query[parameter] = value
    filters = kept.get("filters")
    for parameter, values in filters.items() if isinstance(filters, dict) else ():
        if isinstance(values, list):
            query.setlist(parameter, [value for value in values if isinstance(value, str)])
    request._request.GET = query  # type: ignore[assignment] # as an address with these parameters would make it
    return bool(query)


def empty_query(request: Request) -> None:
    """Remove all parameters from a request."""
    request._request.GET = QueryDict()


def remember_query(session: ClientSession, name: str, request: Request, paginator: Any) -> None:
    """Store what the request has asked for, unless it is stored already. If the write fails, the page is still sent."""
    query = request.query_params
    if len(query.urlencode()) > _MOST_QUERY:
        return
    own = (paginator.page_size_query_param, paginator.cursor_query_param, "ordering")
    wanted = {
        "page_size": query.get(own[0]),
        "ordering": query.get("ordering"),
        "filters": {parameter: values for parameter, values in query.lists() if parameter not in own},
        "cursor": query.get(own[1]),
    }
    try:
        if wanted != _read_kept(session, name):
            verbs.update(session.pk, DOCUMENT, "ops", [["set", f"/{MEMBER}/{escape_token(name)}", wanted]])
    except (OperationalError, InterfaceError) as error:
        outages.tell(error)
    except SessionMgmtError as error:
        logger.warning("What a session asks of the list %r could not be kept: %s", name, error.name)


def _read_kept(session: ClientSession, name: str) -> dict[str, Any]:
    kept = lookup.read_info(session.pk, DOCUMENT).data
    for member in (MEMBER, name):
        kept = kept.get(member) if isinstance(kept, dict) else None
    return kept if isinstance(kept, dict) else {}
