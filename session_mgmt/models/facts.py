"""JSON columns that give back what was put in, whatever the database makes of numbers."""

from __future__ import annotations

import json
from typing import Any

from django.db import models

from session_mgmt.documents.values import SAFE_INTEGER


class FactsField(models.JSONField):
    """PostgreSQL gives the float 1e21 back as an integer of 22 digits, which no JSON of ours holds."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "decoder": _Decoder})

    def deconstruct(self) -> Any:
        """As Django's own field, so that migrations know no difference."""
        name, _, args, options = super().deconstruct()
        options.pop("decoder", None)
        return name, "django.db.models.JSONField", args, options


class _Decoder(json.JSONDecoder):
    def __init__(self, **options: Any) -> None:
        super().__init__(**{**options, "parse_int": _number})


def _number(text: str) -> float:
    value = int(text)
    return value if abs(value) <= SAFE_INTEGER else float(value)
