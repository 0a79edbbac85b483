"""ORM queries that are compiled once, because compiling a join of four tables costs more than fetching a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from django.db import connections
from django.db.models import Model, QuerySet
from django.db.models.query import ModelIterable

M = TypeVar("M", bound=Model)
# Attributes of a compiler before it compiles. Those that it sets by compiling are needed to build instances from rows.
_GIVEN = {"connection", "query", "using", "elide_empty"}


@dataclass(frozen=True, slots=True)
class _Compiled:
    """Compiled statement for one database. It holds no connection, because it outlives them and all threads share it.

    ``before`` holds the parameters that never change, ``fields`` names those that each call passes.
    """

    queryset: QuerySet[Any]
    statement: str
    before: tuple[Any, ...]
    fields: tuple[Any, ...]
    found: dict[str, Any]

    def find(self, using: str, values: dict[str, Any]) -> Any:
        connection = connections[using]
        given = [field.get_db_prep_value(values[field.name], connection) for field in self.fields]
        queryset = self.queryset.all()
        queryset._query = _CompiledBefore(self, (*self.before, *given))  # type: ignore[attr-defined] # as chain() does
        return next(iter(ModelIterable(queryset)), None)


class _CompiledBefore:
    """Stand-in for a query, whose compilers are already compiled."""

    def __init__(self, compiled: _Compiled, parameters: tuple[Any, ...]) -> None:
        self._compiled, self._parameters = compiled, parameters

    def __getattr__(self, name: str) -> Any:
        return getattr(self._compiled.queryset.query, name)

    def get_compiler(self, using: str) -> Any:
        compiler: Any = self._compiled.queryset.query.get_compiler(using=using)
        compiler.as_sql = lambda: (self._compiled.statement, self._parameters)
        vars(compiler).update(self._compiled.found)
        return compiler


class CompiledQuery(Generic[M]):
    """Query for one row by the values of fields that are unique together.

    ``make`` returns the queryset of a database, without those conditions; it is called once for each.
    """

    def __init__(self, make: Callable[[str], QuerySet[M]]) -> None:
        self._make = make
        self._compiled: dict[str, _Compiled] = {}

    def find(self, using: str, **values: Any) -> M | None:
        """Return the instance with these values, or ``None``; every call names the same fields."""
        compiled = self._compiled.get(using)
        if compiled is None:
            compiled = self._compiled[using] = _compile(self._make(using).order_by(), using, values)
        found: M | None = compiled.find(using, values)
        return found


def _compile(queryset: QuerySet[Any], using: str, values: dict[str, Any]) -> _Compiled:
    """Compile a query with added conditions, whose parameters come last, ordered by the names of the fields."""
    chosen = queryset.filter(**values)
    compiler: Any = chosen.query.get_compiler(using=using)
    statement, parameters = compiler.as_sql()
    fields = tuple(queryset.model._meta.get_field(name) for name in sorted(values))
    before = tuple(parameters[: len(parameters) - len(fields)])
    found = {name: value for name, value in vars(compiler).items() if name not in _GIVEN}
    return _Compiled(chosen, statement, before, fields, found)
