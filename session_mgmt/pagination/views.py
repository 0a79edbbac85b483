"""Views of lists whose pages are exact, and that remember how a session reads them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, ClassVar

from rest_framework import status
from rest_framework.exceptions import APIException
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions.topics import snapshots
from session_mgmt.api.errors import refuse_in_their_form
from session_mgmt.bridge import bridge
from session_mgmt.conf import settings
from session_mgmt.models.outages import is_outage
from session_mgmt.pagination.paginator import LiveCursorPagination, find_session
from session_mgmt.pagination.remembering import empty_query, fill_query, remember_query
from session_mgmt.protocol.position import Position

logger = logging.getLogger(__name__)


def _is_refusal(code: int) -> bool:
    """Return True if another query may get a better answer than this status."""
    # These do not depend on the query.
    return status.is_client_error(code) and code not in (401, 429)


def _may_lie_in_query(error: Exception) -> bool:
    """Return True if the query may be the reason of an error. A view can fail in any way if its code no longer knows a
    value or the name of a filter.
    """
    return _is_refusal(error.status_code) if isinstance(error, APIException) else not is_outage(error)


class LivePages:
    """Mixin for list views, before the class of REST framework: all reads of a page are of the same moment.

    The ``pagination_class`` must be ``LiveCursorPagination`` or a subclass.
    With ``remember`` the session's state keeps size, ordering, filters and the last cursor at ``/pages/<remember>``.
    """

    remember: ClassVar[str | None] = None
    frozen_places: Mapping[str, Position] = {}

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse a view that cannot work. Raises ``TypeError``."""
        super().__init_subclass__(**options)
        if cls.remember is not None and not (isinstance(cls.remember, str) and cls.remember):
            raise TypeError(f"remember of {cls.__qualname__} is a name, as 'orders', not {cls.remember!r}.")
        order = cls.__mro__
        if ListModelMixin in order and order.index(ListModelMixin) < order.index(LivePages):
            # Otherwise the list() of that class would be called, and no page would be exact.
            raise TypeError(f"Write LivePages in front of the other classes of {cls.__qualname__}.")

    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Answer a page of the list, as it was at one moment."""
        session, name = find_session(request), self.remember
        if session is None or name is None:
            return self._list_moment(request, *args, **kwargs)
        paginator = self.paginator  # type: ignore[attr-defined]
        with refuse_in_their_form():
            is_filled = fill_query(session, name, request, paginator)
        response = None
        try:
            response = self._list_moment(request, *args, **kwargs)
        except Exception as error:
            if not is_filled or not _may_lie_in_query(error):
                raise
            logger.info("What a session has asked of the list %r before is tried no longer: %r", name, error)
        if response is None or (is_filled and _is_refusal(response.status_code)):
            # The view may accept other filters now, or show other rows to this user. A request without parameters must
            # not be refused because of remembered ones.
            empty_query(request)
            response = self._list_moment(request, *args, **kwargs)
        if status.is_success(response.status_code):
            remember_query(session, name, request, paginator)
        return response

    def _list_moment(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        with refuse_in_their_form(), ExitStack() as moment:
            self._freeze(request, moment)
            response: Response = super().list(request, *args, **kwargs)  # type: ignore[misc]
            return response

    def _freeze(self, request: Request, moment: ExitStack) -> None:
        """Make all reads until ``moment`` ends see the same moment, if the page has a topic."""
        paginator = self.paginator  # type: ignore[attr-defined]
        # Inside a transaction of the project the moment cannot be chosen, so the page says that it is not exact.
        if not isinstance(paginator, LiveCursorPagination) or bridge().inside_transaction():
            return
        queryset = self.filter_queryset(self.get_queryset())  # type: ignore[attr-defined]
        topic = paginator.find_topic(queryset, request, self)
        if topic is not None:
            opened = snapshots.open_snapshot(settings().database, [topic], bridge().drain)
            self.frozen_places = moment.enter_context(opened)
