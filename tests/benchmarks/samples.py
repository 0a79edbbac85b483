"""Documents like an application's: a list of records that compresses to a quarter."""

from __future__ import annotations

import random
from typing import Any

import orjson

_WORDS = (
    "able",
    "about",
    "above",
    "account",
    "across",
    "action",
    "active",
    "address",
    "after",
    "again",
    "answer",
    "area",
)
_STATES = ("open", "waiting", "done")


def document(size: int) -> dict[str, Any]:
    """Return about so many bytes of JSON, the same each time, with a ``field`` to change."""
    dice = random.Random(size)
    records: dict[str, Any] = {}
    used = 0
    while used < size - 100:
        record = _record(dice)
        records[f"r{len(records)}"] = record
        used += len(orjson.dumps(record)) + 10
    return {"records": records, "field": ""}


def _record(dice: random.Random) -> dict[str, Any]:
    return {
        "id": f"{dice.getrandbits(128):032x}",
        "title": " ".join(dice.choices(_WORDS, k=4)),
        "text": " ".join(dice.choices(_WORDS, k=40)),
        "state": dice.choice(_STATES),
        "price": dice.randrange(10**6),
    }
