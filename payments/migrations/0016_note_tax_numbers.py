"""The control numbers of a tax device; like the rest of the books, they only grow."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0015_ask_for_voids'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='TaxNumber',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.CharField(max_length=40)),
                ('noted_at', models.DateTimeField()),
                ('noted_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('receipt', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='tax_numbers', to='payments.receipt')),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('number__regex', '^[0-9A-Z][0-9A-Z/.-]{3,39}$')), name='tax_number_is_canonical')],
            },
        ),
        migrations.RunSQL(
            "CREATE TRIGGER taxnumber_append_only BEFORE UPDATE OR DELETE ON payments_taxnumber"
            " FOR EACH ROW EXECUTE FUNCTION payments_refuse_change()",
            "DROP TRIGGER taxnumber_append_only ON payments_taxnumber",
        ),
    ]
