"""Triggers that keep the books: history and ledger only grow, and every posting sums to zero."""

from django.db import migrations

APPEND_ONLY = """
CREATE FUNCTION payments_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ledgerentry_append_only BEFORE UPDATE OR DELETE ON payments_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION payments_refuse_change();
CREATE TRIGGER paymentevent_append_only BEFORE UPDATE OR DELETE ON payments_paymentevent
    FOR EACH ROW EXECUTE FUNCTION payments_refuse_change();
"""
APPEND_ONLY_BACK = """
DROP TRIGGER paymentevent_append_only ON payments_paymentevent;
DROP TRIGGER ledgerentry_append_only ON payments_ledgerentry;
DROP FUNCTION payments_refuse_change();
"""

SUMS_TO_ZERO = """
CREATE FUNCTION payments_ledger_sums_to_zero() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount) FROM payments_ledgerentry WHERE transaction = NEW.transaction) <> 0 THEN
        RAISE EXCEPTION 'ledger transaction % does not sum to zero', NEW.transaction
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER ledgerentry_sums_to_zero AFTER INSERT ON payments_ledgerentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payments_ledger_sums_to_zero();
"""
SUMS_TO_ZERO_BACK = """
DROP TRIGGER ledgerentry_sums_to_zero ON payments_ledgerentry;
DROP FUNCTION payments_ledger_sums_to_zero();
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0001_initial")]

    operations = [
        migrations.RunSQL(APPEND_ONLY, APPEND_ONLY_BACK),
        migrations.RunSQL(SUMS_TO_ZERO, SUMS_TO_ZERO_BACK),
    ]
