"""A payment says how much of it must come before what it buys is given; so far that was all of it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0010_allocations_fit_what_receipts_hold")]

    operations = [
        migrations.AddField(
            model_name="payment",
            name="deposit",
            field=models.PositiveIntegerField(
                default=0, help_text="Whole KES that must have come before what it buys is given."
            ),
            preserve_default=False,
        ),
        migrations.AddField(
            model_name="payment",
            name="deposit_paid_at",
            field=models.DateTimeField(blank=True, help_text="When the money moved that reached it.", null=True),
        ),
        migrations.RunSQL(
            "UPDATE payments_payment SET deposit = amount_due, deposit_paid_at = paid_at", migrations.RunSQL.noop
        ),
    ]
