"""Which rows are written, told by the database: triggers count them, whoever writes and through whatever connection."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

APP = "session_mgmt_"
# What a server writes at intervals for all its connections, whatever they do.
PERIODIC = frozenset({"session_mgmt_connection", "session_mgmt_sessionactivity"})
_COUNTED = "counted_rows"
_VERBS = ("INSERT", "UPDATE", "DELETE")


@dataclass(frozen=True, slots=True)
class Written:
    """Rows by table and verb, as ``{"session_mgmt_receipt INSERT": 1}``, and the bytes of their values."""

    rows: dict[str, int]
    bytes: int

    @property
    def count(self) -> int:
        return sum(self.rows.values())


class Counter:
    """Reads and forgets what was counted."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def take(self) -> Written:
        """What was written since the last time, without what is written at intervals."""
        with self._connection.cursor() as cursor:
            cursor.execute(f"SELECT name, verb, COUNT(*), SUM(size) FROM {_COUNTED} GROUP BY name, verb ORDER BY 1, 2")
            found = [row for row in cursor.fetchall() if row[0] not in PERIODIC]
            cursor.execute(f"DELETE FROM {_COUNTED}")
        return Written({f"{name} {verb}": count for name, verb, count, _ in found}, sum(int(row[3]) for row in found))


@contextlib.contextmanager
def counted(connection: Any) -> Iterator[Counter]:
    """Count the rows of our tables, on this database."""
    with contextlib.ExitStack() as stack:
        stack.callback(stop, connection)
        start(connection)
        yield Counter(connection)


def start(connection: Any, *prefixes: str) -> None:
    """Count the rows of all tables whose name begins so."""
    _run(connection, _statements(connection, prefixes or (APP,))[0])


def stop(connection: Any, *prefixes: str) -> None:
    """Take away what ``start`` has made, or what it could make of it."""
    _run(connection, _statements(connection, prefixes or (APP,))[1])


def _statements(connection: Any, prefixes: tuple[str, ...]) -> tuple[list[str], list[str]]:
    tables = [name for name in connection.introspection.table_names() if name.startswith(prefixes)]
    return _postgres(tables) if connection.vendor == "postgresql" else _sqlite(connection, tables)


def _run(connection: Any, statements: list[str]) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _sqlite(connection: Any, tables: list[str]) -> tuple[list[str], list[str]]:
    make = [f"CREATE TABLE {_COUNTED} (name TEXT, verb TEXT, size BIGINT)"]
    drop = []
    for table in tables:
        with connection.cursor() as cursor:
            columns = [column.name for column in connection.introspection.get_table_description(cursor, table)]
        for verb in _VERBS:
            row = "OLD" if verb == "DELETE" else "NEW"
            size = " + ".join(f'COALESCE(LENGTH(CAST({row}."{name}" AS BLOB)), 0)' for name in columns)
            make.append(
                f"CREATE TRIGGER counts_{verb}_{table} AFTER {verb} ON {table}"
                f" BEGIN INSERT INTO {_COUNTED} VALUES ('{table}', '{verb}', {size}); END"
            )
            drop.append(f"DROP TRIGGER IF EXISTS counts_{verb}_{table}")
    return make, [*drop, f"DROP TABLE IF EXISTS {_COUNTED}"]


def _postgres(tables: list[str]) -> tuple[list[str], list[str]]:
    make = [
        f"CREATE TABLE {_COUNTED} (name TEXT, verb TEXT, size BIGINT)",
        "CREATE FUNCTION count_row() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        f" INSERT INTO {_COUNTED} VALUES (TG_TABLE_NAME, TG_OP, pg_column_size(COALESCE(NEW, OLD)));"
        " RETURN NULL; END $$",
    ]
    make += [
        f"CREATE TRIGGER counts AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION count_row()"
        for table in tables
    ]
    drop = [f"DROP TRIGGER IF EXISTS counts ON {table}" for table in tables]
    return make, [*drop, "DROP FUNCTION IF EXISTS count_row()", f"DROP TABLE IF EXISTS {_COUNTED}"]
