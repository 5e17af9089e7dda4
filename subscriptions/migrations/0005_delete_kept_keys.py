"""Drop the table of kept keys: migration 0004 moved them to api_idempotencyrecord."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("subscriptions", "0004_move_idempotency_keys")]

    operations = [migrations.DeleteModel("KeptKey")]
