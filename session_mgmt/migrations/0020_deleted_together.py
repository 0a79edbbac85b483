"""Delete the sessions of users in groups. Django does it, not the database: no table is changed."""

from django.conf import settings
from django.db import migrations, models

import session_mgmt.models.together


class Migration(migrations.Migration):
    dependencies = [
        ("session_mgmt", "0019_sparse_indexes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name="clientsession",
            name="user",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=session_mgmt.models.together.cascade_together,
                related_name="client_sessions",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
    ]
