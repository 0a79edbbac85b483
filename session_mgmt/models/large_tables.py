"""Operations of migrations on tables that may be large, while servers write to them.

On PostgreSQL an index is built, or dropped, beside the writers. That is not possible in a transaction, so such a
migration has ``atomic = False``: if it is interrupted, the next ``migrate`` begins at its first operation again.
"""

from __future__ import annotations

from typing import Any

from django.db.migrations.operations import AddIndex, RemoveIndex
from django.db.models import Index


class AddIndexBesideWriters(AddIndex):
    """Add an index, also where an interrupted migration has left it."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            # PostgreSQL keeps an index that could not be completed, and does not use it.
            drop_index(schema_editor, model, self.index.name)
            add_index(schema_editor, model, self.index)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            drop_index(schema_editor, model, self.index.name)


class RemoveIndexBesideWriters(RemoveIndex):
    """Remove an index, also where an interrupted migration has removed it."""

    def database_forwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            drop_index(schema_editor, model, self.name)

    def database_backwards(self, app_label: str, schema_editor: Any, from_state: Any, to_state: Any) -> None:
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.allow_migrate_model(schema_editor.connection.alias, model):
            index = to_state.models[app_label, self.model_name_lower].get_index_by_name(self.name)
            drop_index(schema_editor, model, self.name)
            add_index(schema_editor, model, index)


def add_index(schema_editor: Any, model: Any, index: Index) -> None:
    """Add an index, on PostgreSQL beside writers."""
    if _is_beside_writers(schema_editor):
        schema_editor.add_index(model, index, concurrently=True)
    else:
        schema_editor.add_index(model, index)


def drop_index(schema_editor: Any, model: Any, name: str) -> None:
    """Drop an index if it is there, on PostgreSQL beside writers."""
    if _is_beside_writers(schema_editor):
        schema_editor.execute(schema_editor._delete_index_sql(model, name, concurrently=True))
    elif name in find_indexes(schema_editor, model):
        schema_editor.execute(schema_editor._delete_index_sql(model, name))


def find_indexes(schema_editor: Any, model: Any) -> dict[str, Any]:
    """Return Django's description of each index of a table, by its name."""
    with schema_editor.connection.cursor() as cursor:
        found = schema_editor.connection.introspection.get_constraints(cursor, model._meta.db_table)
    return {name: facts for name, facts in found.items() if facts["index"]}


def _is_beside_writers(schema_editor: Any) -> bool:
    # A test or a tool may run `migrate` inside its own transaction.
    return schema_editor.connection.vendor == "postgresql" and schema_editor.connection.get_autocommit()
