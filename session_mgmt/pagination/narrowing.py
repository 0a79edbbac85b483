"""Read the conditions of a query set: the topic of its rows, and the filters that a client can apply by itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from django.db.models import DecimalField, ForeignKey, QuerySet
from django.db.models.expressions import Col
from django.db.models.lookups import Exact, In, IsNull
from django.db.models.sql.where import AND, WhereNode

from session_mgmt.pagination.collations import is_by_bytes
from session_mgmt.protocol.filters import MOST_VALUES
from session_mgmt.protocol.patterns import TopicPattern
from session_mgmt.protocol.row_keys import write_value
from session_mgmt.publishing.publisher import TEXT, Publisher

# Stands for a condition that is not about a single field of the model.
_OTHER: Final = None


@dataclass(frozen=True)
class Narrowing:
    """Topic of the rows (None if they are in several), filters by key, and whether there are other conditions."""

    topic: str | None
    filters: dict[str, Any]
    has_others: bool


def read_narrowing(queryset: QuerySet[Any], publisher: Publisher, topic: str | None = None) -> Narrowing:
    """Read the conditions of a query set of a publishing model; ``topic`` is the topic that its view names."""
    equalities: dict[str, list[Any]] = {}
    has_others = bool(queryset.query.combinator or queryset.query.extra_tables)
    for condition in _iter_conditions(queryset.query.where):
        read = _read_condition(condition, queryset)
        if read is _OTHER or read[0].name in equalities:
            has_others = True
        else:
            equalities[read[0].name] = read[1]
    of_topic = _list_topic_fields(publisher)
    values = {part: equalities.get(name) for part, name in of_topic.items()}
    if topic is None and isinstance(publisher.topic, TopicPattern):
        topic = _make_topic(publisher.topic, values)
    filters: dict[str, Any] = {}
    for name, given in equalities.items():
        if name in of_topic.values() and len(given) == 1:
            # All rows of the topic fulfil this condition.
            continue
        if name not in publisher.kinds or len(given) > MOST_VALUES or not _compares_bytes(publisher, name, queryset.db):
            has_others = True
            continue
        written = [write_value(value) for value in given]
        filters[name] = written[0] if len(written) == 1 else {"in": written}
    return Narrowing(topic, filters, has_others)


def _list_topic_fields(publisher: Publisher) -> dict[str, str]:
    if not isinstance(publisher.topic, TopicPattern):
        return {}
    return {part: publisher.find_field(part).name for part in publisher.topic_fields}


def _make_topic(pattern: TopicPattern, values: dict[str, list[Any] | None]) -> str | None:
    parts: dict[str, str] = {}
    for part, found in values.items():
        if found is None or len(found) != 1 or found[0] is None:
            return None
        parts[part] = str(found[0])
    try:
        return pattern.make_topic(parts)
    except ValueError:
        return None


def _iter_conditions(where: Any) -> Iterator[Any]:
    if isinstance(where, WhereNode) and where.connector == AND and not where.negated:
        for child in where.children:
            yield from _iter_conditions(child)
    else:
        yield where


def _read_condition(condition: Any, queryset: QuerySet[Any]) -> tuple[Any, list[Any]] | None:
    """Return a field and the values that it may have."""
    column = getattr(condition, "lhs", None)
    if not isinstance(column, Col) or column.alias != queryset.query.get_initial_alias():
        return _OTHER
    field: Any = column.target
    values = condition.rhs
    if isinstance(condition, IsNull):
        return (field, [None]) if values is True else _OTHER
    # Django makes subclasses of both for relations; other classes may compare in another way.
    if not isinstance(condition, Exact | In) or hasattr(values, "resolve_expression") or hasattr(values, "as_sql"):
        return _OTHER
    given = list(values) if isinstance(condition, In) else [values]
    while isinstance(field, ForeignKey):
        field = field.target_field
    # In the database, null is in no list.
    stored = [_as_stored(field, field.to_python(value)) for value in given if value is not None]
    return _OTHER if None in stored else (column.target, stored)


def _as_stored(field: Any, value: Any) -> Any:
    """Return a value exactly as the column returns it; None for a value that the column cannot hold unchanged."""
    if not isinstance(field, DecimalField):
        return value
    if field.decimal_places is None:
        # Each row keeps the digits with which it was written.
        return None
    try:
        stored = value.quantize(Decimal(1).scaleb(-field.decimal_places))
    except InvalidOperation:
        return None
    return stored if stored == value else None


def _compares_bytes(publisher: Publisher, name: str, using: str) -> bool:
    """Return True if the database compares texts of this field by their bytes."""
    field = publisher.find_field(name)
    collation = getattr(field, "db_collation", None)
    return publisher.kinds[name] != TEXT or collation is None or is_by_bytes(field, using)
