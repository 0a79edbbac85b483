from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("session_mgmt", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="statedocument",
            name="oldest_chain",
            field=models.BinaryField(default=bytes(32), max_length=32),
        ),
        migrations.AddField(
            model_name="statedocument",
            name="key_id",
            field=models.CharField(blank=True, default="", max_length=40),
        ),
        migrations.AddField(
            model_name="statedocument",
            name="secret",
            field=models.BinaryField(default=b"", max_length=80),
        ),
    ]
