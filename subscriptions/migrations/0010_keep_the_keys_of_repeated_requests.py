"""A request that was answered with a purchase which was there already is answered so again."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0021_let_workers_take_what_is_left'),
        ('subscriptions', '0009_bound_prices'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='KeptKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('idempotency_key', models.CharField(max_length=64)),
                ('body_fingerprint', models.CharField(help_text="SHA-256 of the request's body.", max_length=64)),
                ('created_at', models.DateTimeField()),
                ('made_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('payment', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='payments.payment')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('made_by', 'idempotency_key'), name='kept_key_once_per_person')],
            },
        ),
    ]
