"""What a value prints ends up in logs and error reports: no secret that a class holds is in its ``repr``."""

from __future__ import annotations

import dataclasses
import importlib
import pkgutil
from collections.abc import Iterator
from typing import Any

import pytest

import session_mgmt

SECRETS = {"secret", "secrets", "token", "nonce", "password", "cookie", "headers", "auth", "key"}
TYPES = {"str", "str | None", "bytes", "bytes | None", "Headers", "Mapping[str, str]"}
# A key that is a text names something, and opens nothing. ``auth`` says in which way a session is proved. As bytes, a
# cookie is a keyed hash, and a nonce is the stored one of a cipher.
HARMLESS = {"key: str", "key: str | None", "auth: str", "cookie: bytes | None", "nonce: bytes"}


def list_classes() -> Iterator[type]:
    for module in pkgutil.walk_packages(session_mgmt.__path__, "session_mgmt."):
        if ".migrations." not in module.name:
            found = vars(importlib.import_module(module.name)).values()
            yield from (one for one in found if isinstance(one, type) and one.__module__ == module.name)


def is_secret(name: str, kind: Any) -> bool:
    return name in SECRETS and kind in TYPES and f"{name}: {kind}" not in HARMLESS


def list_printed(one: Any) -> list[str]:
    """Return the secrets that values of a class print."""
    if dataclasses.is_dataclass(one):
        return [field.name for field in dataclasses.fields(one) if field.repr and is_secret(field.name, field.type)]
    shown = repr(one._make(f"<{name}>" for name in one._fields))
    return [name for name, kind in list_fields(one) if is_secret(name, kind) and f"<{name}>" in shown]


@pytest.mark.requirement("ASVS 16.2.5")
def test_no_value_prints_a_secret() -> None:
    classes = [one for one in list_classes() if dataclasses.is_dataclass(one) or hasattr(one, "_fields")]
    holders = [one for one in classes if any(is_secret(*pair) for pair in list_fields(one))]
    assert len(holders) > 10
    assert {one.__qualname__: printed for one in holders if (printed := list_printed(one))} == {}


def list_fields(one: Any) -> list[tuple[str, Any]]:
    if dataclasses.is_dataclass(one):
        return [(field.name, field.type) for field in dataclasses.fields(one)]
    return [(name, getattr(kind, "__forward_arg__", kind)) for name, kind in one.__annotations__.items()]
