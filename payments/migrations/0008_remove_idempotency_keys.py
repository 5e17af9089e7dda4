"""Drop the columns of idempotency keys. subscriptions 0004 moves them to api_idempotencyrecord, and runs before this."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("payments", "0007_store_cents_beside_the_amount")]

    operations = [
        migrations.RemoveConstraint("payment", "payment_idempotency_key_once_per_creator"),
        migrations.RemoveConstraint("receipt", "receipt_idempotency_key_once_per_person"),
        migrations.RemoveConstraint("refund", "refund_idempotency_key_once_per_person"),
        *(
            migrations.RemoveField(model, field)
            for model in ("payment", "receipt", "refund")
            for field in ("idempotency_key", "body_fingerprint")
        ),
    ]
