"""Operations of documents, written from PROTOCOL section 6 alone: a second opinion on the server's."""

from __future__ import annotations

import copy
import hashlib
import math
from typing import Any

import orjson

LIMIT = 2**53 - 1


def replay(document: Any, ops: list[list[Any]]) -> Any:
    """Compute the document after the operations; the input stays unchanged."""
    holder = {"": copy.deepcopy(document)}
    advance(holder, ops)
    return holder[""]


def advance(holder: dict[str, Any], ops: list[list[Any]]) -> None:
    """Apply the operations in place: the document is the member `""` of the holder."""
    for op in ops:
        _one(holder, op)


def _one(holder: dict[str, Any], op: list[Any]) -> None:
    name, path = op[0], op[1]
    if path == "":
        _at(holder, "", name, op)
        if name == "del":
            holder[""] = {}
        return
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]
    parent = _walk(holder, tokens[:-1], make=name != "del", empty=[] if tokens[-1] == "-" else {})
    if parent is not None:
        _at(parent, tokens[-1], name, op)


def _walk(holder: dict[str, Any], tokens: list[str], *, make: bool, empty: Any) -> Any:
    """Find the container of the last token, making it where that is allowed; None where there is none.

    A container on the way is made as an object, the last one as `empty`.
    """
    node, key = holder, ""
    for token in [*tokens, None]:
        child = node[key]
        if not isinstance(child, dict | list):
            if not make:
                return None
            child = node[key] = empty if token is None else {}
        if token is None:
            return child
        if isinstance(child, list):
            place = _index(token)
            if place is None or place >= len(child):
                return None
            node, key = child, place  # type: ignore[assignment]
        else:
            if make:
                child.setdefault(token, None)
            elif token not in child:
                return None
            node, key = child, token
    return None


def _at(parent: Any, token: str, name: str, op: list[Any]) -> None:
    if isinstance(parent, list):
        _in_array(parent, token, name, op)
    elif name == "del":
        parent.pop(token, None)
    elif name in {"set", "ins"}:
        parent[token] = normal(copy.deepcopy(op[2]))
    elif name == "obj":
        if not isinstance(parent.get(token), dict):
            parent[token] = {}
    else:
        _increase(parent, token, parent.get(token), op[2])


def _in_array(parent: list[Any], token: str, name: str, op: list[Any]) -> None:
    place = len(parent) if token == "-" else _index(token)
    if place is None or place > len(parent):
        return
    inside = place < len(parent)
    if name == "ins":
        parent.insert(place, normal(copy.deepcopy(op[2])))
    elif name == "set":
        parent[place : place + 1] = [normal(copy.deepcopy(op[2]))]
    elif name == "del" and inside:
        del parent[place]
    elif name == "obj" and not (inside and isinstance(parent[place], dict)):
        parent[place : place + 1] = [{}]
    elif name == "inc" and inside:
        _increase(parent, place, parent[place], op[2])
    elif name == "inc":
        parent.append(normal(op[2]))


def _increase(parent: Any, key: Any, old: Any, amount: float) -> None:
    number = isinstance(old, int | float) and not isinstance(old, bool)
    total = old + amount if number else amount
    # From 1e21 on JavaScript prints an exponent, and the number counts as a float.
    if math.isfinite(total) and not (float(total).is_integer() and LIMIT < abs(total) < 1e21):
        parent[key] = normal(total)


def _index(token: str) -> int | None:
    if token.isascii() and token.isdigit() and (token == "0" or token[0] != "0"):
        return int(token)
    return None


def normal(value: Any) -> Any:
    """1.0 is 1 and -0 is 0, at any depth."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= LIMIT:
        return int(value)
    if isinstance(value, dict):
        return {key: normal(item) for key, item in value.items()}
    return [normal(item) for item in value] if isinstance(value, list) else value


def touch(one: list[Any], other: list[Any]) -> bool:
    """Tell two operations that exclude each other: equal paths, or one above the other; two additions do not."""
    if one[0] == other[0] == "inc" and one[1] == other[1]:
        return False
    return one[1] == other[1] or one[1].startswith(other[1] + "/") or other[1].startswith(one[1] + "/")


def digest_value(value: Any) -> str | None:
    """Values here are texts without anything to escape: their JSON is canonical."""
    return None if value is None else hashlib.sha256(orjson.dumps(value)).hexdigest()[:16]
