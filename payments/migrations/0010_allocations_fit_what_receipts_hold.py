"""The deferred trigger on allocations counts what was given back: they never exceed what their receipt still holds."""

from django.db import migrations

FIT = """
CREATE OR REPLACE FUNCTION payments_allocations_fit_receipt(which bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT coalesce(sum(amount), 0) FROM payments_allocation WHERE receipt_id = which AND undone_at IS NULL)
       > (SELECT CASE WHEN reversed_at IS NULL THEN {held} ELSE 0 END FROM payments_receipt WHERE id = which) THEN
        RAISE EXCEPTION 'allocations of receipt % exceed its money', which USING ERRCODE = 'check_violation';
    END IF;
END $$;
DROP TRIGGER receipt_agrees ON payments_receipt;
CREATE CONSTRAINT TRIGGER receipt_agrees AFTER UPDATE OF {watched} ON payments_receipt
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payments_receipt_changed();
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0009_book_what_drawers_were_over_or_short")]

    operations = [
        migrations.RunSQL(
            FIT.format(held="amount - amount_refunded", watched="amount, amount_refunded, reversed_at"),
            FIT.format(held="amount", watched="amount, reversed_at"),
        )
    ]
