"""JSON columns that return large numbers as they were stored, on every database."""

from __future__ import annotations

import json
from typing import Any

from django.db import models

from session_mgmt.documents.values import SAFE_INTEGER


class PortableJSONField(models.JSONField):
    """``JSONField`` that reads integers beyond 2^53 as floats.

    PostgreSQL returns the float 1e21 as an integer of 22 digits, which the strict JSON of this app refuses.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "decoder": _Decoder})

    def deconstruct(self) -> Any:
        """Describe the field as Django's own, so that migrations see no difference."""
        name, _, args, options = super().deconstruct()
        options.pop("decoder", None)
        return name, "django.db.models.JSONField", args, options


def read_json(text: str) -> Any:
    """Read a stored value, as the field does."""
    return _DECODER.decode(text)


class _Decoder(json.JSONDecoder):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "parse_int": _parse_number})


def _parse_number(text: str) -> float:
    value = int(text)
    return value if abs(value) <= SAFE_INTEGER else float(value)


# Shared, because creating a decoder costs ten times as much as reading a small value.
_DECODER = _Decoder()
