"""Scripts of pages and publications with what a client shows after each step: ``tests/vectors/pages.json``.

``python -m tests.live_pages.vectors`` writes the file; the SDK's tests replay it.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from functools import cmp_to_key
from pathlib import Path
from typing import Any

from tests.live_pages.client import Client, Order

FILE = Path(__file__).resolve().parent.parent / "vectors" / "pages.json"
TOPIC, EPOCH = "orders", "e1"
PK = {"field": "id", "descending": False, "kind": "number", "nulls": "last"}


def term(field: str, kind: str, *, descending: bool = False, nulls: str = "last") -> dict[str, Any]:
    return {"field": field, "descending": descending, "kind": kind, "nulls": nulls}


# Few values, so that keys are often equal; of each kind those that are easily compared wrongly.
VALUES: dict[str, list[Any]] = {
    "count": [-1, 0, 2, 10, 10.5, None],
    "price": ["9.50", "9.5", "10.00", "-3", 7, "9007199254740993", "9007199254740992", None],
    "name": ["", "Z", "a", "é", "\uffee", "\U0001f600", "ab", None],
    "paid": [False, True, None],
    "status": ["open", "sent", None, True, 1],
    "secret": ["x", "y"],
}
CASES: dict[str, dict[str, Any]] = {
    "numbers, the newest first": {"ordering": [term("count", "number", descending=True, nulls="first")]},
    "decimals": {"ordering": [term("price", "decimal")]},
    "text by code points": {"ordering": [term("name", "text", nulls="first")]},
    "text, from the end": {"ordering": [term("name", "text", descending=True)]},
    "several fields in different directions": {
        "ordering": [term("paid", "boolean", descending=True), term("count", "number", nulls="first")]
    },
    "the primary key alone, from the end": {"ordering": [], "pk": {**PK, "descending": True}},
    "a filter by one value": {"ordering": [term("count", "number")], "filters": {"status": "open"}},
    "a filter by several values": {
        "ordering": [term("name", "text")],
        "filters": {"status": {"in": ["open", None, True]}, "paid": {"in": [False, True]}},
    },
}
READ_AGAIN: dict[str, dict[str, Any]] = {
    "another filter": {"ordering": [term("count", "number")], "other_filters": True, "hidden": ("secret", "x")},
    "an order that clients do not know": {"ordering": [term("name", "unknown")], "filters": {"paid": True}},
    "an order that is not told": {"ordering": [term("secret", "unknown")], "untold": "secret"},
}


class Server:
    """Rows in memory, of which each change is a publication, and pages of them as a view answers them."""

    def __init__(self, case: dict[str, Any], chance: random.Random) -> None:
        self._chance, self._case = chance, case
        self.ordering = [*case["ordering"], case.get("pk", PK)]
        # The database always knows its order.
        self._order = Order(
            [{**one, "kind": "text" if one["kind"] == "unknown" else one["kind"]} for one in self.ordering]
        )
        self._filters: dict[str, Any] = case.get("filters", {})
        self.rows: dict[int, dict[str, Any]] = {}
        self.offset = 0

    def make_row(self, pk: int) -> dict[str, Any]:
        return {"id": pk, **{name: self._chance.choice(values) for name, values in VALUES.items()}}

    def change(self) -> list[tuple[int, Any]]:
        """Change something at random, and return what is published about it."""
        kind = self._chance.choices(["add", "edit", "delete", "bulk", "other"], [4, 6, 2, 1, 1])[0]
        if kind == "other":
            return [self._publish("somebody else's")]
        if kind == "bulk":
            return [self._put(pk) for pk in self._chance.sample(sorted(self.rows), min(3, len(self.rows)))]
        if kind == "add" or not self.rows:
            return [self._put(self._chance.choice([pk for pk in range(1, 60) if pk not in self.rows]))]
        pk = self._chance.choice(sorted(self.rows))
        if kind == "edit":
            return [self._put(pk)]
        del self.rows[pk]
        return [self._publish({"op": "del", "pk": str(pk)})]

    def _put(self, pk: int) -> tuple[int, Any]:
        row = self.make_row(pk)
        if pk in self.rows and self._chance.random() < 0.3:
            # What orders stays.
            row = {**row, **{one["field"]: self.rows[pk][one["field"]] for one in self.ordering}}
        self.rows[pk] = row
        keys = {one["field"] for one in self.ordering} - {self._case.get("untold")} | set(self._filters)
        return self._publish(
            {"op": "put", "pk": str(pk), "row": self._show(row), "key": {name: row[name] for name in sorted(keys)}}
        )

    def _publish(self, body: Any) -> tuple[int, Any]:
        self.offset += 1
        return self.offset, body

    def _show(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"id": row["id"], "edition": row["count"]}

    def _is_wanted(self, row: dict[str, Any]) -> bool:
        hidden = self._case.get("hidden")
        fits = all(Client._matches(row[name], wanted) for name, wanted in self._filters.items())
        return fits and (hidden is None or row[hidden[0]] == hidden[1])

    def _key(self, row: dict[str, Any]) -> list[Any]:
        return [row[one["field"]] for one in self.ordering]

    def _tell(self, key: Any) -> Any:
        hidden = self._case.get("untold")
        names = [one["field"] for one in self.ordering]
        return key and [None if name == hidden else value for name, value in zip(names, key, strict=True)]

    def find(self, after: Any, until: Any) -> list[dict[str, Any]]:
        """Return the rows of a range in their order: the query that pages are compared with."""
        compare = self._order.compare
        wanted = [row for row in self.rows.values() if self._is_wanted(row)]
        wanted.sort(key=cmp_to_key(lambda one, other: compare(self._key(one), self._key(other))))
        return [
            row
            for row in wanted
            if (after is None or compare(self._key(row), after) > 0)
            and (until is None or compare(self._key(row), until) <= 0)
        ]

    def read_page(self, after: Any, until: Any = None, size: int = 4) -> dict[str, Any]:
        found = self.find(after, until)
        if until is None and len(found) > size:
            found = found[:size]
            until = self._key(found[-1])
        keys = [self._key(row) for row in found]
        # In the cursor of `refresh`.
        self.range = after, until
        address = f"/orders/?cursor={self.offset}"
        return {
            "results": self.show(found),
            "next": None if until is None else f"{address}.next",
            "previous": None if after is None else f"{address}.previous",
            "live": {
                "topic": TOPIC,
                "position": [EPOCH, self.offset, f"{self.offset:016x}"],
                "exact": True,
                "ordering": self.ordering,
                "pks": [str(row["id"]) for row in found],
                "keys": [self._tell(key) for key in keys],
                "after": self._tell(after),
                "until": self._tell(until),
                "filters": self._filters,
                "other_filters": self._case.get("other_filters", False),
                "refresh": f"{address}.refresh",
            },
        }

    def show(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [self._show(row) for row in rows]


def make_scripts() -> Iterator[dict[str, Any]]:
    """Make all scripts, each the same every time."""
    for name, case in CASES.items():
        for number in range(2):
            yield _make_script(name, case, number, _play_turns)
    for name, case in READ_AGAIN.items():
        yield _make_script(name, case, 0, _play_readings)


def _make_script(name: str, case: dict[str, Any], number: int, play: Callable[..., None]) -> dict[str, Any]:
    chance = random.Random(f"{name} {number}")
    server = Server(case, chance)
    for pk in chance.sample(range(1, 60), 14):
        server.rows[pk] = server.make_row(pk)
    page = server.read_page(None)
    client, steps = Client(page), []

    def note(step: dict[str, Any]) -> None:
        steps.append({**step, "rows": client.rows, "more": client.more, "stale": client.is_stale})

    play(server, client, chance, note)
    return {"name": f"{name} ({number + 1})", "page": page, "steps": steps}


def _tell(client: Client, entries: list[tuple[int, Any]], note: Callable[..., None]) -> None:
    for offset, body in entries:
        client.take_entry(offset, body)
        note({"entry": body, "offset": offset})


def _play_turns(server: Server, client: Client, chance: random.Random, note: Callable[..., None]) -> None:
    """Change rows, and turn pages that are read before or after what the client has heard."""
    for _ in range(3):
        _tell(client, [entry for _ in range(3) for entry in server.change()], note)
        assert client.rows == server.show(server.find(*client.range))
        if client.next is None:
            continue
        client.begin_request()
        note({"request": "next"})
        entries = [entry for _ in range(2) for entry in server.change()]
        page = server.read_page(client.range[1])
        late = [entry for _ in range(2) for entry in server.change()]
        # The page was read later than the client has heard, or earlier.
        heard = chance.choice([[], entries, entries + late])
        _tell(client, heard, note)
        client.take_page(page, "next")
        note({"page": page, "of": "next"})
        _tell(client, [entry for entry in entries + late if entry not in heard], note)
        assert not client.is_waiting and client.rows == server.show(server.find(*client.range))


def _play_readings(server: Server, client: Client, chance: random.Random, note: Callable[..., None]) -> None:
    """Change rows until something must be read again, and read it."""
    for _ in range(12):
        _tell(client, server.change(), note)
        if not client.is_stale:
            continue
        client.begin_request()
        note({"request": "refresh"})
        page = server.read_page(*server.range)
        client.take_page(page, "refresh")
        note({"page": page, "of": "refresh"})
        assert client.rows == server.show(server.find(*server.range))


def make_text() -> str:
    """Return the file's text, one step a line."""
    about = (
        "Made by `python -m tests.live_pages.vectors`. Each script begins with its first page. A step is an entry of"
        " the topic, the begin of a request, or its answer; with each: the rows that are shown, `more`, and whether"
        " rows must be read again."
    )
    scripts = []
    for script in make_scripts():
        steps = ",\n".join("    " + json.dumps(step, separators=(",", ":")) for step in script["steps"])
        page = json.dumps(script["page"], separators=(",", ":"))
        scripts.append(f'  {{"name": {json.dumps(script["name"])}, "page": {page}, "steps": [\n{steps}\n  ]}}')
    return f'{{"about": {json.dumps(about)},\n"scripts": [\n' + ",\n".join(scripts) + "\n]}\n"


if __name__ == "__main__":
    FILE.write_text(make_text(), encoding="utf-8")
