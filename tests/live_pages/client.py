"""Rules of a client that keeps pages true (PROTOCOL, "Live pages"), as plainly as they can be written.

It knows nothing of the server's code; the SDK replays what it did (``tests/vectors/pages.json``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cmp_to_key
from typing import Any

Key = list[Any]
UNKNOWN = "unknown"
# Value that a publication does not tell: equal to no other, and so not to the null that a page has for it.
UNTOLD = object()


@dataclass(frozen=True)
class Order:
    """The ordering of a page, as its ``live`` tells it."""

    terms: list[dict[str, Any]]

    @property
    def is_known(self) -> bool:
        return all(term["kind"] != UNKNOWN for term in self.terms)

    def read_key(self, entry: dict[str, Any]) -> Key:
        return [entry["key"].get(term["field"], UNTOLD) for term in self.terms]

    def compare(self, one: Key, other: Key) -> int:
        for term, a, b in zip(self.terms, one, other, strict=True):
            if a is None or b is None:
                if a is not b:
                    return -1 if (a is None) == (term["nulls"] == "first") else 1
                continue
            x, y = (Decimal(a), Decimal(b)) if term["kind"] == "decimal" else (a, b)
            if x != y:
                return -1 if (x < y) != term["descending"] else 1
        return 0


@dataclass
class Row:
    pk: str
    key: Key
    row: Any


@dataclass
class Part:
    """Rows of a range of keys, as they were at one place of the topic."""

    order: Order
    after: Key | None
    until: Key | None
    refresh: str
    rows: list[Row] = field(default_factory=list)

    def holds(self, key: Key) -> bool:
        return (self.after is None or self.order.compare(key, self.after) > 0) and (
            self.until is None or self.order.compare(key, self.until) <= 0
        )

    def find(self, pk: str) -> Row | None:
        return next((row for row in self.rows if row.pk == pk), None)

    def remove(self, pks: Iterable[str]) -> None:
        gone = set(pks)
        self.rows = [row for row in self.rows if row.pk not in gone]

    def put(self, row: Row) -> None:
        self.remove([row.pk])
        self.rows.append(row)
        self.rows.sort(key=cmp_to_key(lambda one, other: self.order.compare(one.key, other.key)))


class Client:
    """List of one or several adjacent pages, with the publications of their topic applied in order."""

    def __init__(self, page: dict[str, Any]) -> None:
        live = page["live"]
        self._order = Order(live["ordering"])
        self._filters, self._has_other_filters = live["filters"], live["other_filters"]
        self._parts = [self._read_part(page)]
        self.place: int = live["position"][1]
        self.next: str | None = page["next"]
        self._kept: list[tuple[int, Any]] = []
        self._waiting: tuple[dict[str, Any], str, int] | None = None
        self._more: set[str] = set()
        # Whether rows must be read again, because nothing that was told says which belong here, or where.
        self.is_stale = False

    @property
    def rows(self) -> list[Any]:
        return [row.row for part in self._parts for row in part.rows]

    @property
    def more(self) -> int:
        """Rows that may belong here by a filter that only the server knows."""
        return len(self._more)

    @property
    def range(self) -> tuple[Key | None, Key | None]:
        return self._parts[0].after, self._parts[-1].until

    @property
    def refresh_addresses(self) -> list[str]:
        return [part.refresh for part in self._parts]

    @property
    def is_waiting(self) -> bool:
        return self._waiting is not None

    def begin_request(self) -> None:
        """Ask for the next page, or for a page's range again."""
        self._kept, self._waiting = [], None

    def take_entry(self, offset: int, body: Any) -> None:
        """Apply one publication; whatever lies before the place is known."""
        if offset <= self.place:
            return
        self.place = offset
        self._kept.append((offset, body))
        self._apply(self._parts, body)
        if self._waiting is not None:
            self.take_page(*self._waiting)

    def take_page(self, page: dict[str, Any], of: str, number: int = 0) -> None:
        """Take the page in as soon as the place has reached its own; ``number``: which page was read again."""
        read_at = page["live"]["position"][1]
        if read_at > self.place:
            self._waiting = page, of, number
            return
        self._waiting = None
        part = self._read_part(page)
        if of == "refresh":
            self.is_stale, self._more = False, set()
        for offset, body in self._kept:
            if offset > read_at:
                self._apply([part], body)
        self._merge(part, len(self._parts) if of == "next" else number, page["next"])

    def _merge(self, part: Part, at: int, next_: str | None) -> None:
        # A range with too many rows is cut, and the list goes on from there.
        if at < len(self._parts) and self._parts[at].until != part.until:
            del self._parts[at + 1 :]
        self._parts[at : at + 1] = [part]
        if at == len(self._parts) - 1:
            self.next = next_
        for other in self._parts:
            if other is not part:
                other.remove(row.pk for row in part.rows)

    def _apply(self, parts: list[Part], body: Any) -> None:
        if not isinstance(body, dict) or body.get("op") not in ("put", "del"):
            return
        pk = body["pk"]
        shown = next((found for part in parts if (found := part.find(pk)) is not None), None)
        if body["op"] == "del":
            self._more.discard(pk)
            if shown is not None and self._has_other_filters:
                self.is_stale = True
            else:
                self._move(parts, pk, None, None)
            return
        row = Row(pk, self._order.read_key(body), body["row"])
        fits = all(self._matches(body["key"].get(name), wanted) for name, wanted in self._filters.items())
        if not self._order.is_known:
            self._apply_unordered(row, shown, fits)
            return
        home = next((part for part in parts if fits and part.holds(row.key)), None)
        if not self._has_other_filters:
            self._move(parts, pk, home, row)
        elif shown is not None:
            self.is_stale = True
        elif home is None and not any(fits and part.holds(row.key) for part in self._parts):
            # A page that comes may not have it while another one does.
            self._more.discard(pk)
        else:
            self._more.add(pk)

    def _move(self, parts: list[Part], pk: str, home: Part | None, row: Row | None) -> None:
        for part in parts:
            part.remove([pk])
        if home is not None and row is not None:
            home.put(row)

    def _apply_unordered(self, row: Row, shown: Row | None, fits: bool) -> None:
        if shown is not None and fits and row.key == shown.key and not self._has_other_filters:
            shown.row = row.row
        elif shown is not None or fits:
            self.is_stale = True

    @staticmethod
    def _matches(value: Any, wanted: Any) -> bool:
        values = wanted["in"] if isinstance(wanted, dict) else [wanted]
        # To Python, 1 and true are equal.
        return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in values)

    def _read_part(self, page: dict[str, Any]) -> Part:
        live = page["live"]
        rows = [Row(*row) for row in zip(live["pks"], live["keys"], page["results"], strict=True)]
        return Part(self._order, live["after"], live["until"], live["refresh"], rows)
