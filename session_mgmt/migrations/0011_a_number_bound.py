from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("session_mgmt", "0010_f_token_pairs")]

    operations = [
        migrations.AddField(
            model_name="statedocument",
            name="number_bound",
            # Nobody knows the numbers of documents that are there; the next snapshot of each tells.
            field=models.BigIntegerField(db_default=2**53, default=0),
        ),
    ]
