"""Texts of SQL statements, built once for each number of rows and columns."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.db.models import AutoField, Model


def marks(count: int) -> str:
    """Return this many placeholders: ``%s, %s, %s``."""
    return ", ".join(["%s"] * count)


@lru_cache(maxsize=20)
def list_columns(model: type[Model]) -> tuple[Any, ...]:
    """List the columns that an INSERT sets; the database generates the others."""
    return tuple(field for field in model._meta.concrete_fields if not isinstance(field, AutoField))


@lru_cache(maxsize=20)
def compile_inserts(models: tuple[type[Model], ...]) -> str:
    """Compile one INSERT per model into one statement, as PostgreSQL allows."""
    *first, last = [compile_insert(model) for model in models]
    before = ", ".join(f"put_{number} AS ({insert})" for number, insert in enumerate(first))
    return f"WITH {before} {last}" if before else last


def compile_insert(model: type[Model], count: int = 1) -> str:
    """Compile an INSERT of this many rows."""
    names = [f'"{field.column}"' for field in list_columns(model)]
    values = ", ".join([f"({marks(len(names))})"] * count)
    return f"INSERT INTO {model._meta.db_table} ({', '.join(names)}) VALUES {values}"


@lru_cache(maxsize=100)
def compile_sqlite_insert(table: str, columns: tuple[str, ...], count: int) -> str:
    """Compile an INSERT for the driver of SQLite itself."""
    names = ", ".join(f'"{name}"' for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES {render_values(columns, count)}"


@lru_cache(maxsize=100)
def compile_sqlite_update(table: str, columns: tuple[str, ...], count: int) -> str:
    """Compile an UPDATE of rows by their key, the first column, for the driver of SQLite itself."""
    names = ", ".join(f'"{name}"' for name in columns)
    return (
        f"WITH new({names}) AS (VALUES {render_values(columns, count)})"
        f" UPDATE {table} SET {render_assignments(columns)} FROM new WHERE {match_key(table, columns)}"
    )


def render_values(columns: tuple[str, ...], count: int) -> str:
    """Render the placeholders of this many rows in the style of SQLite's driver."""
    one = "(" + ", ".join("?" * len(columns)) + ")"
    return ", ".join([one] * count)


def render_assignments(columns: tuple[str, ...]) -> str:
    """Render the assignments of an UPDATE, without the key."""
    return ", ".join(f'"{name}" = new."{name}"' for name in columns[1:])


def match_key(table: str, columns: tuple[str, ...]) -> str:
    """Render the condition that a row has the key of a new one."""
    return f'{table}."{columns[0]}" = new."{columns[0]}"'
