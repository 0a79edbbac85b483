from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("session_mgmt", "0004_permissions"),
    ]

    operations = [
        migrations.AddField(
            model_name="staterevision",
            name="request",
            field=models.BinaryField(max_length=32, null=True),
        ),
    ]
