"""The idempotency keys of payments, receipts, refunds and kept_key move to the one table, api_idempotencyrecord.

The results of a purchase are its periods: those of the payment and of the payments that are grouped with it. A caller
who used one key for a purchase and for a receipt or a refund keeps the first of these. To undo it, copy nothing back:
a record does not say what kind of rows its results are.
"""

from django.db import migrations

MOVE = """
INSERT INTO api_idempotencyrecord (caller_id, key, fingerprint, results, created_at)
SELECT caller_id, key, fingerprint, results, created_at FROM (
    SELECT asked.caller_id, asked.key, asked.fingerprint, jsonb_agg(period.id ORDER BY period.id) AS results,
        asked.created_at
    FROM (
        SELECT created_by_id AS caller_id, idempotency_key AS key, body_fingerprint AS fingerprint, id AS payment_id,
            created_at
        FROM payments_payment WHERE idempotency_key IS NOT NULL
        UNION ALL
        SELECT made_by_id, idempotency_key, body_fingerprint, payment_id, created_at FROM subscriptions_keptkey
    ) asked
    JOIN payments_payment payment ON asked.payment_id IN (payment.id, payment.head_id)
    JOIN subscriptions_subscription period ON period.payment_id = payment.id
    GROUP BY asked.caller_id, asked.key, asked.fingerprint, asked.payment_id, asked.created_at
    UNION ALL
    SELECT recorded_by_id, idempotency_key, body_fingerprint, jsonb_build_array(id), created_at
    FROM payments_receipt WHERE idempotency_key IS NOT NULL AND recorded_by_id IS NOT NULL
    UNION ALL
    SELECT made_by_id, idempotency_key, body_fingerprint, jsonb_agg(id ORDER BY id), min(made_at)
    FROM payments_refund WHERE idempotency_key IS NOT NULL
    GROUP BY made_by_id, idempotency_key, body_fingerprint
) moved ORDER BY created_at
ON CONFLICT DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0003_add_idempotency_records"),
        ("payments", "0001_initial"),
        ("subscriptions", "0003_remember_the_headings_of_member_lists"),
    ]
    run_before = [("payments", "0008_remove_idempotency_keys")]

    operations = [migrations.RunSQL(MOVE, migrations.RunSQL.noop)]
