"""A price or fee past any real one is refused where it is typed, not where it is first asked for."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('subscriptions', '0008_find_periods_by_status'),
    ]

    operations = [
        migrations.AlterField(
            model_name='plan',
            name='joining_fee',
            field=models.PositiveIntegerField(default=0, help_text='Whole KES, once per member and group.', validators=[django.core.validators.MaxValueValidator(10000000)]),
        ),
        migrations.AlterField(
            model_name='plan',
            name='price',
            field=models.PositiveIntegerField(help_text='Whole Kenyan shillings.', validators=[django.core.validators.MaxValueValidator(10000000)]),
        ),
    ]
