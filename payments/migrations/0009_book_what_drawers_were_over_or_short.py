"""Drawers that were counted before their difference stood in the ledger get it there."""

from django.db import migrations

BOOK = """
WITH differing AS (
    SELECT id, cashier_id, closed_at, counted - expected AS difference, gen_random_uuid() AS posting
    FROM payments_cashsession WHERE closed_at IS NOT NULL AND counted <> expected
)
INSERT INTO payments_ledgerentry (transaction, account, amount, cash_session_id, made_by_id, at)
SELECT posting, 'cash', difference, id, cashier_id, closed_at FROM differing
UNION ALL
SELECT posting, 'over_short', -difference, id, cashier_id, closed_at FROM differing
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0008_record_refunds_and_drawers")]

    # The ledger only grows: going back leaves the entries.
    operations = [migrations.RunSQL(BOOK, migrations.RunSQL.noop)]
