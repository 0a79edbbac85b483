"""Whether an answer is one that the OpenAPI document tells: its status, its headers and its body."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator

from session_mgmt.api.description import build_schema

ROOT = "/api"
_BODILESS = (204, 304)


@lru_cache(maxsize=1)
def _document() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(build_schema("/api/")))
    return document


@lru_cache(maxsize=1)
def _routes() -> list[tuple[re.Pattern[str], str]]:
    """Paths with fewer parameters first, as an address may fit several."""
    paths = sorted(_document()["paths"], key=lambda path: path.count("{"))
    return [(re.compile(re.sub(r"{\w+}", "[^/]+", path)), path) for path in paths]


def find_operation(method: str, address: str) -> dict[str, Any] | None:
    """The operation of an address, if the document has it."""
    route = _find_route(address)
    return None if route is None else _document()["paths"][route].get(method.lower())


def check_answer(method: str, address: str, answer: Any) -> None:
    """Fail if the answer is not one of those that the document tells."""
    operation = find_operation(method, address)
    if operation is None or answer.status_code == 500:
        return
    told = operation["responses"].get(str(answer.status_code))
    assert told is not None, f"{method} {address} answers {answer.status_code}, which the document does not tell"
    for name in told.get("headers", {}):
        if name not in ("Retry-After", "Location"):
            assert name in answer.headers, f"{method} {address}: {answer.status_code} without {name}"
    if answer.status_code in _BODILESS:
        assert answer.content == b""
        return
    found = _find_validator(method.lower(), _find_route(address), answer.status_code).iter_errors(
        json.loads(answer.content)
    )
    problems = [f"{error.json_path}: {error.message[:200]}" for error in found]
    assert problems == [], f"{method} {address}: {answer.status_code}"


def _find_route(address: str) -> str | None:
    path = address.split("?")[0].removeprefix(ROOT)
    return next((route for pattern, route in _routes() if pattern.fullmatch(path)), None)


@lru_cache(maxsize=500)
def _find_validator(method: str, route: str, status: int) -> Draft202012Validator:
    told = _document()["paths"][route][method]["responses"][str(status)]
    return Draft202012Validator(
        {**told["content"]["application/json"]["schema"], "components": _document()["components"]}
    )
