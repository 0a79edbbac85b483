"""Query parameters of URLs: strict values, and no unlisted parameters."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rest_framework.request import Request

from session_mgmt.exceptions import InvalidField
from session_mgmt.protocol.position import Position, parse_text

MOST = 2**53 - 1
_DIGITS = 16
_NAME = 100


@dataclass(frozen=True, slots=True)
class Number:
    """Integer in digits, from ``least`` to ``most``."""

    name: str
    description: str
    least: int = 0
    most: int = MOST
    default: int | None = None
    required: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        bounds = {"type": "integer", "minimum": self.least, "maximum": self.most}
        return bounds if self.default is None else {**bounds, "default": self.default}

    def read(self, request: Request) -> int | None:
        """Return the number, or the default. Raises ``InvalidField``."""
        text = request.query_params.get(self.name)
        if text is None:
            if self.required:
                raise InvalidField(f"Give {self.name}.", field=self.name)
            return self.default
        if not is_number(text) or not self.least <= int(text) <= self.most:
            raise InvalidField(f"{self.name} is an integer from {self.least} to {self.most}.", field=self.name)
        return int(text)

    def read_or_default(self, request: Request) -> int:
        """Return the number of a parameter that has a default."""
        found = self.read(request)
        assert found is not None
        return found


@dataclass(frozen=True, slots=True)
class Identifier:
    """Id of a row, as a UUID."""

    name: str
    description: str
    required: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "uuid"}

    def read(self, request: Request) -> uuid.UUID | None:
        """Return the id, or ``None`` if it is not given. Raises ``InvalidField``."""
        text = request.query_params.get(self.name)
        try:
            return None if text is None else uuid.UUID(text)
        except ValueError:
            raise InvalidField(f"{self.name} is a UUID.", field=self.name) from None


@dataclass(frozen=True, slots=True)
class Place:
    """Position in a log, as ``epoch.offset.tag``."""

    name: str
    description: str
    required: bool = False

    @property
    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^.{0,64}\.[0-9]{1,16}\..{0,64}$"}

    def read(self, request: Request) -> Position | None:
        """Return the position, or ``None`` if it is not given. Raises ``InvalidField``."""
        text = request.query_params.get(self.name)
        if text is None:
            return None
        found = parse_text(text)
        if found is None:
            raise InvalidField(f"{self.name} is epoch.offset.tag of an entry.", field=self.name)
        return found


Parameter = Number | Identifier | Place


def is_number(text: str) -> bool:
    """Return whether a text is a decimal number of a plausible length, without sign and spaces."""
    # `isdigit` alone accepts digits of every script, and `int` would read them.
    return text.isascii() and text.isdigit() and len(text) <= _DIGITS


def check_query(request: Request, allowed: Iterable[Parameter]) -> None:
    """Refuse a parameter that is not listed or is given twice, as for the fields of a body. Raises ``InvalidField``."""
    names = {parameter.name for parameter in allowed}
    for name, values in request.query_params.lists():
        if name not in names:
            raise InvalidField("There is no such parameter.", field=name[:_NAME])
        # Proxies and frameworks disagree which of two values counts, so a check elsewhere might see the other one.
        if len(values) > 1:
            raise InvalidField("The parameter is given twice.", field=name)
