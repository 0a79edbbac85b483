"""Pagination class for REST framework: each page has its range, and the position at which live changes begin."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import orjson
from django.core.exceptions import ImproperlyConfigured
from django.db.models import QuerySet
from django.http import QueryDict
from rest_framework.pagination import CursorPagination
from rest_framework.request import Request
from rest_framework.response import Response

from session_mgmt.actions.sessions import tokens
from session_mgmt.actions.topics import snapshots
from session_mgmt.api.errors import refuse_in_their_form
from session_mgmt.conf import settings
from session_mgmt.exceptions import CursorExpired, InvalidField
from session_mgmt.models import ClientSession, clock
from session_mgmt.pagination.cursors import NEXT, PREVIOUS, RANGE, Cursor, Reader, read_cursor, write_cursor
from session_mgmt.pagination.narrowing import Narrowing, read_narrowing
from session_mgmt.pagination.ordering import Key, Ordering, find_hidden, make_ordering
from session_mgmt.protocol.patterns import is_topic
from session_mgmt.protocol.position import Position
from session_mgmt.publishing.publisher import get_publisher, write_pk

# A range that is read again may have so many times the rows of a page, because the list may have grown.
_RANGE_PAGES = 2


def _is_size(value: Any) -> bool:
    return value is None or (type(value) is int and value > 0)


def _is_order(value: Any) -> bool:
    names = value if isinstance(value, list | tuple) else (value,)
    return value is None or bool(names and all(isinstance(name, str) and name for name in names))


def _is_life(value: Any) -> bool:
    return isinstance(value, timedelta) and value > timedelta(0)


# Attributes of subclasses that would make requests fail, or that a request would misread.
_ATTRIBUTES = (
    ("page_size", _is_size, "a whole number above 0"),
    ("max_page_size", _is_size, "a whole number above 0"),
    ("ordering", _is_order, "the name of a field, or a list of names"),
    ("topic", lambda value: value is None or is_topic(value), "the name of a topic, as 'orders:all'"),
    ("cursor_life", _is_life, "a timedelta above 0"),
)


@dataclass(frozen=True)
class Found:
    """Rows of one page with its range; None is an open end."""

    rows: list[Any]
    after: Key | None
    until: Key | None


class LiveCursorPagination(CursorPagination):
    """Pages that are ranges of keys. Each has the position in its topic after which no change is missed.

    The view's model must have ``@publishes``, and the request a session's token; otherwise pages are ordinary ones.
    """

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200
    ordering: Any = None
    # Topic of the rows, if the model's pattern and the conditions of the query set do not determine it.
    topic: str | None = None
    cursor_life: ClassVar[timedelta] = timedelta(days=1)

    def __init_subclass__(cls, **options: Any) -> None:
        """Refuse attributes that cannot work. Raises ``TypeError``."""
        super().__init_subclass__(**options)
        for name, is_right, wanted in _ATTRIBUTES:
            value = getattr(cls, name)
            if not is_right(value):
                raise TypeError(f"{name} of {cls.__qualname__} is {wanted}, not {value!r}.")

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        """Return the rows of the page that the request asks for."""
        with refuse_in_their_form():
            return self._read_page(queryset, request, view)

    def get_topic(self, queryset: QuerySet[Any], request: Request, view: Any) -> str | None:
        """Return the topic in which changes of these rows are published; None leaves it to the query set."""
        return self.topic

    def find_topic(self, queryset: QuerySet[Any], request: Request, view: Any) -> str | None:
        """Return the topic of the page's live part; None if the page will have none."""
        found = self._narrow(queryset, request, view)
        return None if found is None else found.topic

    def _narrow(self, queryset: QuerySet[Any], request: Request, view: Any) -> Narrowing | None:
        publisher = get_publisher(queryset.model)
        if publisher is None or find_session(request) is None:
            return None
        return read_narrowing(queryset, publisher, self.get_topic(queryset, request, view))

    def _read_page(self, queryset: QuerySet[Any], request: Request, view: Any) -> list[Any]:
        self.request = request
        self._now = clock.read(settings().database)
        session = find_session(request)
        if session is not None and (ended := tokens.explain_end(session, now=self._now)) is not None:
            raise ended
        self._publisher = get_publisher(queryset.model)
        self._order = self._find_order(queryset, request, view)
        self._is_sealed = self._needs_seal(view)
        self._reader = self._make_reader(session, request, view)
        text = request.query_params.get(self.cursor_query_param)
        cursor = None if text is None else read_cursor(text, self._reader, now=self._now)
        self._size = self._find_size(request, cursor)
        self._narrowing = self._narrow(queryset, request, view)
        # Read it before the rows: changes that are committed in between are in the rows, and are published again.
        self._place, self._is_exact = self._find_place(queryset, view)
        _check_history(cursor, self._place)
        self._found = self._find(queryset, cursor)
        self.display_page_controls = bool(self._found.after or self._found.until)
        return self._found.rows

    def _find_order(self, queryset: QuerySet[Any], request: Request, view: Any) -> Ordering:
        names = self.get_ordering(request, queryset, view)
        try:
            return make_ordering(queryset.model, names, self._publisher, queryset.db)
        except ImproperlyConfigured as error:
            # Without a list of fields, a filter of REST framework accepts every field that rows show, from any client.
            if self._choose_ordering(request, queryset, view):
                raise InvalidField(str(error), field="ordering") from error
            raise

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> tuple[str, ...]:
        """Return the ordering chosen by a filter of the view, else that of this class, the query set or its model."""
        chosen = self._choose_ordering(request, queryset, view)
        given: Any = chosen or self.ordering or queryset.query.order_by or queryset.model._meta.ordering
        return (given,) if isinstance(given, str) else tuple(given)

    def _choose_ordering(self, request: Request, queryset: QuerySet[Any], view: Any) -> Any:
        filters = [backend for backend in getattr(view, "filter_backends", ()) if hasattr(backend, "get_ordering")]
        return filters[0]().get_ordering(request, queryset, view) if filters else None

    def _find_size(self, request: Request, cursor: Cursor | None) -> int:
        if cursor is not None and self.page_size_query_param not in request.query_params:
            return cursor.size
        # An invalid size is ignored, and a large one is reduced, as in REST framework.
        return int(self.get_page_size(request) or LiveCursorPagination.page_size)

    def _make_reader(self, session: ClientSession | None, request: Request, view: Any) -> Reader:
        name = f"{type(view).__module__}.{type(view).__qualname__}"
        parts = {part: str(value) for part, value in getattr(view, "kwargs", {}).items()}
        return Reader(
            "" if session is None else session.pk.hex,
            _digest([name, parts]),
            self._order.names,
            _digest(sorted((key, values) for key, values in request.query_params.lists() if key not in self._own)),
        )

    @property
    def _own(self) -> tuple[str | None, ...]:
        return self.cursor_query_param, self.page_size_query_param

    def _needs_seal(self, view: Any) -> bool:
        if not find_hidden(self._order, self._publisher, ()):
            return False
        shown = list_shown(view.get_serializer()) if hasattr(view, "get_serializer") else ()
        return bool(find_hidden(self._order, self._publisher, shown))

    def _find_place(self, queryset: QuerySet[Any], view: Any) -> tuple[Position | None, bool]:
        topic = None if self._narrowing is None else self._narrowing.topic
        if topic is None:
            return None, False
        using = settings().database
        frozen: dict[str, Position] = getattr(view, "frozen_places", {})
        if topic in frozen:
            return frozen[topic], queryset.db == using
        return snapshots.find_places(using, {topic})[topic], False

    def _find(self, queryset: QuerySet[Any], cursor: Cursor | None) -> Found:
        direction = NEXT if cursor is None else cursor.direction
        key = None if cursor is None or cursor.key is None else self._order.read(cursor.key)
        until = None if cursor is None or cursor.until is None else self._order.read(cursor.until)
        if direction == PREVIOUS:
            assert key is not None
            return self._find_before(queryset, key)
        if until is not None:
            queryset = queryset.filter(self._order.until(until))
        most = self._size if direction == NEXT else max(self._size, int(self.max_page_size or 0)) * _RANGE_PAGES
        behind = queryset if key is None else queryset.filter(self._order.beyond(key))
        rows = list(behind.order_by(*self._order.order())[: most + 1])
        if len(rows) > most:
            del rows[most:]
            until = self._order.key_of(rows[-1])
        return Found(rows, key, until)

    def _find_before(self, queryset: QuerySet[Any], until: Key) -> Found:
        before = queryset.filter(self._order.until(until)).order_by(*self._order.order(backward=True))
        rows = list(before[: self._size + 1])
        after = self._order.key_of(rows.pop()) if len(rows) > self._size else None
        return Found(rows[::-1], after, until)

    def get_paginated_response(self, data: Any) -> Response:
        """Return the response: ``results``, ``next``, ``previous`` and ``live``."""
        with refuse_in_their_form():
            return Response(
                {
                    "results": data,
                    "next": self.get_next_link(),
                    "previous": self.get_previous_link(),
                    "live": self._tell_live(),
                }
            )

    def get_next_link(self) -> str | None:
        """Return the URL of the page after this one; None at the end of the list."""
        return None if self._found.until is None else self._write_address(NEXT, self._found.until)

    def get_previous_link(self) -> str | None:
        """Return the URL of the page before this one; None at the start of the list."""
        return None if self._found.after is None else self._write_address(PREVIOUS, self._found.after)

    def _tell_live(self) -> dict[str, Any] | None:
        if self._place is None or self._narrowing is None:
            return None
        found, order = self._found, self._order
        return {
            "topic": self._narrowing.topic,
            "position": self._place.as_json(),
            "exact": self._is_exact,
            "ordering": order.as_json(),
            "pks": [write_pk(row.pk) for row in found.rows],
            "keys": [order.tell(order.key_of(row)) for row in found.rows],
            "after": order.tell(found.after),
            "until": order.tell(found.until),
            "filters": self._narrowing.filters,
            "other_filters": self._narrowing.has_others,
            "refresh": self._write_address(RANGE, found.after, found.until),
        }

    def _write_address(self, direction: str, key: Key | None, until: Key | None = None) -> str:
        begin, end = (None if one is None else self._order.write(one) for one in (key, until))
        cursor = Cursor(direction, begin, end, self._size, self._place)
        expires = self._now + self.cursor_life
        query: QueryDict = self.request.query_params.copy()
        query[self.cursor_query_param] = write_cursor(cursor, self._reader, expires=expires, sealed=self._is_sealed)
        return self.request.build_absolute_uri(f"{self.request.path}?{query.urlencode()}")

    def get_paginated_response_schema(self, schema: Any) -> dict[str, Any]:
        """Describe the response for OpenAPI."""
        found: dict[str, Any] = super().get_paginated_response_schema(schema)
        live = {"type": "object", "nullable": True, "description": "Place of the topic, and the page's range of keys."}
        return {**found, "properties": {**found["properties"], "live": live}}


def find_session(request: Request) -> ClientSession | None:
    """Return the session whose token the request carries."""
    return getattr(request, "client_session", None)


def list_shown(serializer: Any) -> set[str]:
    """Return the sources of the fields that rows of a serializer show."""
    return {field.source for field in getattr(serializer, "fields", {}).values() if not field.write_only}


def _check_history(cursor: Cursor | None, place: Position | None) -> None:
    """Refuse the cursor of a page whose topic had another history: after a restored backup it cannot be continued."""
    if cursor is None or cursor.position is None or place is None or not cursor.position.offset:
        return
    if cursor.position.epoch != place.epoch or cursor.position.offset > place.offset:
        raise CursorExpired()


def _digest(value: Any) -> str:
    return hashlib.sha256(orjson.dumps(value)).hexdigest()[:32]
