"""A callback says from when on a worker may take it up: at once, when who received it had no room to apply it.

The default is the database's, so that code from before this migration can keep callbacks while it runs.
"""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0020_name_channels_as_people_do'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='callback',
            name='callback_waiting',
        ),
        migrations.AddField(
            model_name='callback',
            name='next_try_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
        ),
        migrations.AddIndex(
            model_name='callback',
            index=models.Index(condition=models.Q(('outcome', 'new')), fields=['next_try_at'], name='callback_waiting'),
        ),
    ]
