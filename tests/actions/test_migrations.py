"""A deploy: migrations run while older code reads and writes. None locks a table of before for long, or loses a row."""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.apps.registry import Apps
from django.conf import settings
from django.db import IntegrityError, connection, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations import Migration
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.state import ModelState, ProjectState
from django.test.utils import CaptureQueriesContext

from session_mgmt.models.large_tables import AddIndexBesideWriters, RemoveIndexBesideWriters

APP = "session_mgmt"
# Migrations after this one are written for tables that are large.
BEFORE = "0015_round_trips"
ALIAS = "living"
# What people make by hand, row by row.
SMALL = {"session_mgmt_webhookendpoint"}
# What older code does not survive, and what locks a table for as long as it is read or written as a whole.
HARMFUL = {
    "postgresql": (
        r"^CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)|^DROP INDEX (?!CONCURRENTLY)|ADD CONSTRAINT|ALTER COLUMN|"
        r"DROP COLUMN|RENAME|ADD COLUMN (?!.*DEFAULT).* NOT NULL"
    ),
    "sqlite": r'^CREATE TABLE "new__|DROP COLUMN|RENAME',
}
VALUES: dict[str, Any] = {
    "BinaryField": b"\x01" * 32,
    "BooleanField": True,
    "CharField": "x",
    "GenericIPAddressField": "127.0.0.1",
    "DateTimeField": datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    "JSONField": [],
    "TextField": "x",
}


def load_migrations() -> tuple[ProjectState, list[Migration]]:
    """Return the state before, and the migrations since then."""
    loader = MigrationLoader(None)
    newer = [loader.graph.nodes[key] for key in sorted(loader.graph.nodes) if key[0] == APP and key[1] > BEFORE]
    assert newer
    return loader.project_state((APP, BEFORE)), newer


def find_table(statement: str) -> str | None:
    """Return the table that a statement changes, None if it does not say."""
    found = re.search(r'(?:TABLE|ON) (?:ONLY )?"(?:new__)?(\w+)"', statement)
    return found and found[1]


@pytest.fixture
def living(transactional_db: None, tmp_path: Path) -> Iterator[BaseDatabaseWrapper]:
    """Database without tables: on PostgreSQL a schema of its own."""
    connections[ALIAS] = copied = connection.copy(ALIAS)
    if connection.vendor == "postgresql":
        copied.settings_dict["OPTIONS"] = {**copied.settings_dict["OPTIONS"], "options": f"-c search_path={ALIAS}"}
        execute(copied, f"CREATE SCHEMA {ALIAS}")
    else:
        copied.settings_dict["NAME"] = str(tmp_path / "living.sqlite3")
    yield copied
    if connection.vendor == "postgresql":
        execute(copied, f"DROP SCHEMA {ALIAS} CASCADE")
    copied.close()
    del connections[ALIAS]


def execute(on: BaseDatabaseWrapper, statement: str) -> None:
    with on.cursor() as cursor:
        cursor.execute(statement)


def list_models(apps: Apps, *labels: str) -> list[type[models.Model]]:
    """List the models of this app, or of others."""
    return [model for model in apps.get_models() if model._meta.app_label in (labels or {APP})]


def create_tables(on: BaseDatabaseWrapper, apps: Apps) -> None:
    with on.schema_editor() as editor:
        for model in list_models(apps, APP, "auth", "contenttypes"):
            editor.create_model(model)


def fill(apps: Apps, alias: str, number: int) -> None:
    """Let code of this state write a row into each table, with values that no other number has."""
    made: dict[type[models.Model], models.Model] = {}
    waiting = [apps.get_model(settings.AUTH_USER_MODEL), *list_models(apps)]
    while waiting:
        model = waiting.pop(0)
        parents = [field.related_model for field in model._meta.local_fields if field.remote_field and not field.null]
        if any(parent in waiting for parent in parents):
            waiting.append(model)
            continue
        row = model(**{field.attname: choose_value(field, made, number) for field in model._meta.local_fields})
        row.save(using=alias, force_insert=True)
        made[model] = row


def choose_value(field: Any, made: dict[type[models.Model], models.Model], number: int) -> Any:
    if field.remote_field:
        return made[field.related_model].pk if field.related_model in made else None
    if field.null:
        return None
    if field.primary_key and not isinstance(field, models.UUIDField):
        return number
    if isinstance(field, models.UUIDField):
        return uuid.UUID(int=number)
    if field.choices:
        return field.choices[0][0]
    if isinstance(field, models.IntegerField):
        return number
    value = VALUES[field.get_internal_type()]
    return value[:-1] + bytes([number]) if isinstance(value, bytes) else f"{value}{number}" if value == "x" else value


def read_rows(apps: Apps, alias: str) -> dict[str, list[Any]]:
    """Let code of this state read each table."""
    return {
        model.__name__: list(model._base_manager.using(alias).order_by("pk").values()) for model in list_models(apps)
    }


def test_older_code_goes_on_reading_and_writing_while_migrations_lock_none_of_its_tables_for_long(
    living: BaseDatabaseWrapper,
) -> None:
    state, migrations = load_migrations()
    older, harmful = state.clone().apps, re.compile(HARMFUL[living.vendor])
    create_tables(living, older)
    fill(older, living.alias, 1)
    kept = read_rows(older, living.alias)
    for migration in migrations:
        tables = {model._meta.db_table for model in list_models(state.apps)} - SMALL
        with CaptureQueriesContext(living) as captured, living.schema_editor(atomic=migration.atomic) as editor:
            state = migration.apply(state, editor)
        said = [query["sql"] for query in captured]
        assert [line for line in said if harmful.search(line) and find_table(line) in {None, *tables}] == []
    assert read_rows(older, living.alias) == kept
    fill(older, living.alias, 2)
    assert {len(rows) for rows in read_rows(older, living.alias).values()} == {2}


@pytest.fixture
def table(living: BaseDatabaseWrapper) -> ProjectState:
    """State with a table that has an old index, and two equal rows."""
    row = ModelState(
        APP,
        "Row",
        [("id", models.AutoField(primary_key=True)), ("value", models.IntegerField())],
        {"indexes": [models.Index(fields=["value"], name="old")]},
    )
    state = ProjectState({(APP, "row"): row})
    with living.schema_editor() as editor:
        editor.create_model(state.apps.get_model(APP, "Row"))
    for _ in range(2):
        state.apps.get_model(APP, "Row")._base_manager.using(ALIAS).create(value=1)
    return state


class Replacement(Migration):
    atomic = False
    operations = [
        AddIndexBesideWriters("row", models.Index(fields=["value", "id"], name="new")),
        RemoveIndexBesideWriters("row", "old"),
    ]


def list_indexes(on: BaseDatabaseWrapper) -> set[str]:
    """List the indexes without the unique one, which a failed build has left."""
    with on.cursor() as cursor:
        found = on.introspection.get_constraints(cursor, f"{APP}_row")
    return {name for name, facts in found.items() if facts["index"] and not facts["unique"]}


def test_a_migration_that_was_interrupted_replaces_an_index_when_it_runs_again(
    living: BaseDatabaseWrapper, table: ProjectState
) -> None:
    replacement = Replacement("replacement", APP)
    if living.vendor == "postgresql":
        # What a build that failed leaves behind: nothing uses it, and its name is taken.
        with pytest.raises(IntegrityError):
            execute(living, f"CREATE UNIQUE INDEX CONCURRENTLY new ON {APP}_row (value)")
    for turn, left in [(replacement.apply, {"new"}), (replacement.unapply, {"old"})]:
        # Killed the first time before the row that says that it has run.
        for _ in range(2):
            with living.schema_editor(atomic=False) as editor:
                turn(table.clone(), editor)
            assert list_indexes(living) == left


@pytest.mark.postgres
def test_an_index_is_also_replaced_inside_a_transaction(living: BaseDatabaseWrapper, table: ProjectState) -> None:
    with transaction.atomic(ALIAS), living.schema_editor(atomic=False) as editor:
        Replacement("replacement", APP).apply(table, editor)
    assert list_indexes(living) == {"new"}
