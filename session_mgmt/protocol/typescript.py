"""TypeScript types for Python annotations of values that are sent as JSON. Other annotations become ``any``."""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping
from collections.abc import Sequence as AbstractSequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NewType,
    NotRequired,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)
from uuid import UUID

ANY: Final = "any"
_PLAIN: Final[dict[Any, str]] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    None: "null",
    types.NoneType: "null",
    UUID: "string",
    datetime: "string",
    date: "string",
    time: "string",
    timedelta: "string",
    Decimal: "string",
    # A sequence that does not exist in JSON.
    bytes: ANY,
}


def is_annotation(value: Any) -> bool:
    """Return True for a possible annotation; False for a string, because the scope of its names is unknown."""
    is_special = value is Any or value is None or isinstance(value, NewType)
    # The last check is for an alias of the `type` statement.
    return is_special or isinstance(value, type) or get_origin(value) is not None or hasattr(value, "__value__")


class TypeWriter:
    """Writer of types. It keeps the interface of each class that it has met, because a class may refer to itself."""

    def __init__(self) -> None:
        self.interfaces: dict[str, str] = {}
        self._names: dict[type, str] = {}

    def write_type(self, annotation: Any) -> str:
        """Return the TypeScript type of a value with this annotation."""
        if isinstance(annotation, NewType):
            return self.write_type(annotation.__supertype__)
        origin, arguments = get_origin(annotation), get_args(annotation)
        if origin is Literal:
            return _join([_write_literal(value) for value in arguments])
        if origin in (Union, types.UnionType):
            return _join([self.write_type(argument) for argument in arguments])
        # The first argument of ``Annotated``, ``Required``, ``NotRequired`` and ``ReadOnly`` is the type.
        if origin is Annotated or not isinstance(origin, type | None):
            return self.write_type(arguments[0])
        return self._write_class(origin or annotation, arguments)

    def _write_class(self, class_: Any, arguments: tuple[Any, ...]) -> str:
        if not isinstance(class_, type):
            return _PLAIN.get(class_, ANY)
        if class_ in _PLAIN:
            return _PLAIN[class_]
        if is_typeddict(class_) or dataclasses.is_dataclass(class_):
            return self._name_interface(class_)
        if issubclass(class_, Enum):
            return _join([_write_literal(member.value) for member in class_])
        if issubclass(class_, Mapping):
            return f"Record<string, {self.write_type(arguments[1]) if arguments else ANY}>"
        if issubclass(class_, tuple) and arguments and arguments[-1] is not Ellipsis:
            return f"[{', '.join(map(self.write_type, arguments))}]"
        if issubclass(class_, AbstractSequence | AbstractSet):
            return f"Array<{self.write_type(arguments[0]) if arguments else ANY}>"
        return ANY

    def _name_interface(self, class_: type) -> str:
        """Return the name of the interface of a class; write the interface when the class is met first."""
        if class_ not in self._names:
            taken = sum(name.rstrip("0123456789") == class_.__name__ for name in self._names.values())
            name = self._names[class_] = f"{class_.__name__}{taken + 1 if taken else ''}"
            # Reserve its place before its members are written, because one of them may have the same class.
            self.interfaces[name] = ""
            self.interfaces[name] = self._write_members(class_)
        return self._names[class_]

    def _write_members(self, class_: type) -> str:
        hints = get_type_hints(class_, include_extras=True)
        optional = set(getattr(class_, "__optional_keys__", ()))
        # With postponed annotations the class does not know which members are not required.
        optional |= {name for name, hint in hints.items() if get_origin(hint) is NotRequired}
        return "".join(
            f"  {write_key(name)}{'?' if name in optional else ''}: {self.write_type(hint)};\n"
            for name, hint in hints.items()
        )


def write_key(name: str) -> str:
    """Return the name of a member as TypeScript requires it."""
    return name if name.isidentifier() and name.isascii() else json.dumps(name)


def _write_literal(value: Any) -> str:
    value = value.value if isinstance(value, Enum) else value
    return json.dumps(value) if isinstance(value, str | int | bool | None) else ANY


def _join(parts: list[str]) -> str:
    """Return the union of types, each once; a union with ``any`` is ``any``."""
    return ANY if ANY in parts else " | ".join(dict.fromkeys(parts))
