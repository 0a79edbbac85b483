from __future__ import annotations

from typing import Any

from django.db import migrations, models
from django.db.models import F

# No key takes fewer bytes: two quotes, a colon, a value.
_LEAST_BYTES = 4


def bound_keys(apps: Any, editor: Any) -> None:
    """Give documents an upper bound from their size; the next snapshot makes it exact."""
    documents = apps.get_model("session_mgmt", "StateDocument").objects.using(editor.connection.alias)
    documents.update(keys=F("size") / _LEAST_BYTES)


class Migration(migrations.Migration):
    dependencies = [("session_mgmt", "0007_b_subscription_topic")]

    operations = [
        migrations.AddField(
            model_name="statedocument",
            name="keys",
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.RunPython(bound_keys, migrations.RunPython.noop),
    ]
