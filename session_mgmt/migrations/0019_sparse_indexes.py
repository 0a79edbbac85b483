"""Index only rows that have a value, where most have none: SQLite else reads whole tables once ANALYZE has run.

Not by ``AlterField`` alone: on PostgreSQL it drops every index of that one column, and on SQLite it copies whole tables.
"""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from session_mgmt.models.large_tables import (
    AddIndexBesideWriters,
    RemoveIndexBesideWriters,
    add_index,
    drop_index,
    find_indexes,
)

FIELDS = [
    ("auditentry", "actor"),
    ("auditentry", "session"),
    ("clientsession", "login"),
    ("clientsession", "user"),
    ("login", "cookie_digest"),
    ("stateconflict", "client"),
    ("staterevision", "client"),
    ("token", "parent"),
]


# The new indexes of the same columns.
KEPT = {
    "sm_audit_actor",
    "sm_audit_session",
    "sm_session_user",
    "sm_session_login",
    "sm_login_cookie",
    "sm_conflict_client",
    "sm_revision_client",
    "sm_token_parent",
}


def list_old(apps, schema_editor):
    for name, field in FIELDS:
        model = apps.get_model("session_mgmt", name)
        column = model._meta.get_field(field).column
        for index, facts in find_indexes(schema_editor, model).items():
            if index not in KEPT and not facts["unique"] and facts["columns"] == [column]:
                yield model, index


def drop_indexes(apps, schema_editor):
    for model, index in list_old(apps, schema_editor):
        drop_index(schema_editor, model, index)


def create_indexes(apps, schema_editor):
    # What an interrupted attempt has left.
    drop_indexes(apps, schema_editor)
    for name, field in FIELDS:
        model = apps.get_model("session_mgmt", name)
        name = schema_editor._create_index_name(model._meta.db_table, [model._meta.get_field(field).column])
        add_index(schema_editor, model, models.Index(fields=[field], name=name))


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("session_mgmt", "0018_webhook_dead"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="auditentry",
                    name="actor",
                    field=models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                migrations.AlterField(
                    model_name="auditentry",
                    name="session",
                    field=models.UUIDField(null=True),
                ),
                migrations.AlterField(
                    model_name="clientsession",
                    name="login",
                    field=models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="sessions",
                        to="session_mgmt.login",
                    ),
                ),
                migrations.AlterField(
                    model_name="clientsession",
                    name="user",
                    field=models.ForeignKey(
                        blank=True,
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="client_sessions",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                migrations.AlterField(
                    model_name="login",
                    name="cookie_digest",
                    field=models.BinaryField(max_length=32, null=True),
                ),
                migrations.AlterField(
                    model_name="stateconflict",
                    name="client",
                    field=models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="session_mgmt.client",
                    ),
                ),
                migrations.AlterField(
                    model_name="staterevision",
                    name="client",
                    field=models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="session_mgmt.client",
                    ),
                ),
                migrations.AlterField(
                    model_name="token",
                    name="parent",
                    field=models.ForeignKey(
                        db_index=False,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="children",
                        to="session_mgmt.token",
                    ),
                ),
            ]
        ),
        AddIndexBesideWriters(
            model_name="auditentry",
            index=models.Index(condition=models.Q(("actor__isnull", False)), fields=["actor"], name="sm_audit_actor"),
        ),
        AddIndexBesideWriters(
            model_name="auditentry",
            index=models.Index(
                condition=models.Q(("session__isnull", False)), fields=["session"], name="sm_audit_session"
            ),
        ),
        AddIndexBesideWriters(
            model_name="clientsession",
            index=models.Index(condition=models.Q(("user__isnull", False)), fields=["user"], name="sm_session_user"),
        ),
        AddIndexBesideWriters(
            model_name="clientsession",
            index=models.Index(condition=models.Q(("login__isnull", False)), fields=["login"], name="sm_session_login"),
        ),
        AddIndexBesideWriters(
            model_name="clientsession",
            index=models.Index(
                condition=models.Q(("recovered_from__isnull", False)),
                fields=["recovered_from"],
                name="sm_session_successor",
            ),
        ),
        AddIndexBesideWriters(
            model_name="clientsession",
            index=models.Index(
                condition=models.Q(("state", "active"), ("user__isnull", False)),
                fields=["user", "created_at"],
                name="sm_user_active",
            ),
        ),
        AddIndexBesideWriters(
            model_name="login",
            index=models.Index(
                condition=models.Q(("cookie_digest__isnull", False)), fields=["cookie_digest"], name="sm_login_cookie"
            ),
        ),
        AddIndexBesideWriters(
            model_name="stateconflict",
            index=models.Index(
                condition=models.Q(("client__isnull", False)), fields=["client"], name="sm_conflict_client"
            ),
        ),
        AddIndexBesideWriters(
            model_name="staterevision",
            index=models.Index(
                condition=models.Q(("client__isnull", False)), fields=["client"], name="sm_revision_client"
            ),
        ),
        AddIndexBesideWriters(
            model_name="token",
            index=models.Index(
                condition=models.Q(("parent__isnull", False)), fields=["parent"], name="sm_token_parent"
            ),
        ),
        # After the indexes that take their place: older code goes on reading meanwhile.
        RemoveIndexBesideWriters(
            model_name="clientsession",
            name="sm_user_live",
        ),
        migrations.RunPython(drop_indexes, create_indexes),
    ]
