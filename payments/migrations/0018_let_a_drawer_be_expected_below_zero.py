"""A drawer whose cash was refunded and then voided is expected to hold less than nothing, and must close all the same."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0017_keep_callbacks_and_refunds'),
    ]

    operations = [
        migrations.AlterField(
            model_name='cashsession',
            name='expected',
            field=models.IntegerField(help_text='Float, live cash receipts, less cash refunds, whole KES; below zero after a void.', null=True),
        ),
    ]
