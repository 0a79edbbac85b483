"""Orderings of pages: keys of rows, and conditions for ranges of keys.

A page is a range ``after < key <= until`` in its own order, and a key always ends with the primary key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import Any, TypeAlias

from django.core.exceptions import FieldDoesNotExist, ImproperlyConfigured
from django.db import connections
from django.db.models import DurationField, F, Field, ForeignKey, Q
from django.db.models.expressions import OrderBy

from session_mgmt.pagination.collations import is_by_bytes
from session_mgmt.protocol.row_keys import write_value
from session_mgmt.publishing.publisher import TEXT, Publisher, find_kind

UNKNOWN = "unknown"
Key: TypeAlias = tuple[Any, ...]
# Texts of these fields have only one form each, so no collation changes their order.
_ASCII_KINDS = ("UUIDField", "DateField", "DateTimeField", "TimeField")


@dataclass(frozen=True)
class Term:
    """One field of an ordering. ``kind`` is how clients compare its values, ``nulls_first`` where nulls are placed."""

    name: str
    field: Field[Any, Any]
    descending: bool
    kind: str
    nulls_first: bool

    @property
    def text(self) -> str:
        """Return the term in the form of ``order_by``."""
        return f"-{self.name}" if self.descending else self.name

    def order(self, backward: bool) -> OrderBy:
        """Return the term for ``order_by``. Nulls are placed as the database, and so its indexes, place them."""
        column = F(self.field.attname)
        return column.asc() if self.descending == backward else column.desc()

    def equal(self, value: Any) -> Q:
        """Return the condition for rows with this value."""
        return Q(**{f"{self.field.attname}__isnull": True}) if value is None else Q(**{self.field.attname: value})

    def beyond(self, value: Any, backward: bool, *, inclusive: bool = False) -> Q | None:
        """Return the condition for rows after those with this value; None if there can be none."""
        name = self.field.attname
        nulls_last = self.nulls_first == backward
        if value is None:
            return None if nulls_last else Q(**{f"{name}__isnull": False})
        compare = "gt" if self.descending == backward else "lt"
        found = Q(**{f"{name}__{compare}{'e' if inclusive else ''}": value})
        return found | Q(**{f"{name}__isnull": True}) if self.field.null and nulls_last else found

    def read(self, value: Any) -> Any:
        """Return the value from its JSON."""
        field: Any = self.field
        while isinstance(field, ForeignKey):
            field = field.target_field
        if value is not None and isinstance(field, DurationField):
            return timedelta(microseconds=int(value))
        return field.to_python(value)

    def as_json(self) -> dict[str, Any]:
        """Return the term in the form that clients receive."""
        nulls = "first" if self.nulls_first else "last"
        return {"field": self.name, "descending": self.descending, "kind": self.kind, "nulls": nulls}


@dataclass(frozen=True)
class Ordering:
    """Terms of an ordering. The last one is the primary key."""

    terms: tuple[Term, ...]

    @property
    def names(self) -> list[str]:
        """Return the terms in the form of ``order_by``."""
        return [term.text for term in self.terms]

    def order(self, *, backward: bool = False) -> list[OrderBy]:
        """Return the arguments for ``order_by``."""
        return [term.order(backward) for term in self.terms]

    def key_of(self, row: Any) -> Key:
        """Return a row's key."""
        return tuple(getattr(row, term.field.attname) for term in self.terms)

    def beyond(self, key: Key, *, backward: bool = False) -> Q:
        """Return the condition for rows after a key, without the key's own row."""
        ways: list[Q] = []
        same = Q()
        for term, value in zip(self.terms, key, strict=True):
            way = term.beyond(value, backward)
            if way is not None:
                ways.append(same & way)
            same &= term.equal(value)
        found = reduce(or_, ways)
        # This condition follows from the others, but with it the database can begin in the index of the first field.
        first = None if key[0] is None else self.terms[0].beyond(key[0], backward, inclusive=True)
        return found if first is None else first & found

    def until(self, key: Key, *, backward: bool = False) -> Q:
        """Return the condition for rows up to a key, including the key's own row."""
        same = Q()
        for term, value in zip(self.terms, key, strict=True):
            same &= term.equal(value)
        return same | self.beyond(key, backward=not backward)

    def write(self, key: Key) -> list[Any]:
        """Return a key as JSON."""
        return [write_value(value) for value in key]

    def read(self, written: Sequence[Any]) -> Key:
        """Return the key from its JSON."""
        return tuple(term.read(value) for term, value in zip(self.terms, written, strict=True))

    def tell(self, key: Key | None) -> list[Any] | None:
        """Return a key for clients, without values that clients can see nowhere else."""
        if key is None:
            return None
        return [
            None if term.kind == UNKNOWN else value for term, value in zip(self.terms, self.write(key), strict=True)
        ]

    def as_json(self) -> list[dict[str, Any]]:
        """Return the ordering in the form that clients receive."""
        return [term.as_json() for term in self.terms]


def make_ordering(model: Any, names: Iterable[Any], publisher: Publisher | None, using: str) -> Ordering:
    """Return the ordering by these names, followed by the primary key. Raises ``ImproperlyConfigured``."""
    terms: dict[str, Term] = {}
    for name in names:
        term = _make_term(model, name, publisher, using)
        terms.setdefault(term.name, term)
        if term.field.primary_key:
            break
    pk = model._meta.pk
    if pk.name not in terms:
        terms[pk.name] = _make_term(model, pk.name, publisher, using)
    return Ordering(tuple(terms.values()))


def _make_term(model: Any, given: Any, publisher: Publisher | None, using: str) -> Term:
    # Expressions have no name, and no field from which a key could take its value.
    name = given if isinstance(given, str) else str(given)
    field, kind = find_orderable(model, name)
    descending = name.startswith("-")
    has_nulls_first = connections[using].features.order_by_nulls_first
    kind = kind if is_told(field, publisher) and _is_ordered(field, kind, using) else UNKNOWN
    return Term(field.name, field, descending, kind, nulls_first=has_nulls_first != descending)


def find_orderable(model: Any, name: str) -> tuple[Any, str]:
    """Return the field of a name in an ordering, and the kind of its values. Raises ``ImproperlyConfigured``."""
    plain = name.removeprefix("-")
    try:
        field = model._meta.pk if plain == "pk" else model._meta.get_field(plain)
    except FieldDoesNotExist:
        field = None
    kind = None if field is None or not field.concrete or field.many_to_many else find_kind(field)
    if field is None or kind is None:
        raise ImproperlyConfigured(
            f"Pages of {model._meta.label} cannot be ordered by {plain!r}: name a field of the model itself with values"
            " that have an order, as numbers, texts and times do."
        )
    return field, kind


def is_told(field: Any, publisher: Publisher | None) -> bool:
    """Return True if publications have the field among their keys."""
    return publisher is not None and field.name in publisher.kinds


def _is_ordered(field: Any, kind: str, using: str) -> bool:
    while isinstance(field, ForeignKey):
        field = field.target_field
    return kind != TEXT or field.get_internal_type() in _ASCII_KINDS or is_by_bytes(field, using)


def find_hidden(ordering: Ordering, publisher: Publisher | None, shown: Collection[str]) -> list[str]:
    """Return the fields of an ordering that neither publications nor rows contain; ``shown`` are the rows' sources."""
    return [term.name for term in ordering.terms if is_hidden(term.name, term.field, publisher, shown)]


def is_hidden(name: str, field: Any, publisher: Publisher | None, shown: Collection[str]) -> bool:
    """Return True if neither publications nor rows contain a field that is ordered by under this name."""
    is_shown = {name, field.attname}.intersection(shown) or (field.primary_key and "pk" in shown)
    return not is_shown and not is_told(field, publisher)
