"""Drop an index that every publication wrote and no query needs: the cleanup goes by topic, from the oldest entry on."""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('session_mgmt', '0008_document_key_bound'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='publication',
            name='sm_publication_at',
        ),
    ]
