"""Triggers that protect the books and the evidence, whoever writes to the database.

1. Ledger, payment history, tax numbers and refunds are written once.
2. The legs of every ledger transaction sum to zero.
3. Allocations fit the money of their receipt, and a payment's amount_paid is the sum of its allocations.
4. What Safaricom sent stays as it was received.
"""

from django.db import migrations

# 1. Rows that are written once: no update, no delete.
APPEND_ONLY = """
CREATE FUNCTION payments_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER ledgerentry_append_only BEFORE UPDATE OR DELETE ON payments_ledgerentry
    FOR EACH ROW EXECUTE FUNCTION payments_refuse_change();
CREATE TRIGGER paymentevent_append_only BEFORE UPDATE OR DELETE ON payments_paymentevent
    FOR EACH ROW EXECUTE FUNCTION payments_refuse_change();
CREATE TRIGGER taxnumber_append_only BEFORE UPDATE OR DELETE ON payments_taxnumber
    FOR EACH ROW EXECUTE FUNCTION payments_refuse_change();
CREATE TRIGGER refund_append_only BEFORE UPDATE OR DELETE ON payments_refund
    FOR EACH ROW EXECUTE FUNCTION payments_refuse_change();
"""
DROP_APPEND_ONLY = """
DROP TRIGGER refund_append_only ON payments_refund;
DROP TRIGGER taxnumber_append_only ON payments_taxnumber;
DROP TRIGGER paymentevent_append_only ON payments_paymentevent;
DROP TRIGGER ledgerentry_append_only ON payments_ledgerentry;
DROP FUNCTION payments_refuse_change();
"""

# 2. Checked at commit, when all legs of a transaction are there.
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
DROP_SUMS_TO_ZERO = """
DROP TRIGGER ledgerentry_sums_to_zero ON payments_ledgerentry;
DROP FUNCTION payments_ledger_sums_to_zero();
"""

# 3. Checked at commit, whichever of allocation, receipt and payment was written.
#    A receipt holds its amount less what was refunded, and nothing after it was reversed.
ALLOCATIONS_AGREE = """
CREATE FUNCTION payments_allocations_fit_receipt(which bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT coalesce(sum(amount), 0) FROM payments_allocation WHERE receipt_id = which AND undone_at IS NULL)
       > (SELECT CASE WHEN reversed_at IS NULL THEN amount - amount_refunded ELSE 0 END FROM payments_receipt WHERE id = which) THEN
        RAISE EXCEPTION 'allocations of receipt % exceed its money', which USING ERRCODE = 'check_violation';
    END IF;
END $$;
CREATE FUNCTION payments_allocations_are_paid(which bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT coalesce(sum(amount), 0) FROM payments_allocation WHERE payment_id = which AND undone_at IS NULL)
       <> (SELECT amount_paid FROM payments_payment WHERE id = which) THEN
        RAISE EXCEPTION 'payment % does not count what is allocated to it', which USING ERRCODE = 'check_violation';
    END IF;
END $$;
CREATE FUNCTION payments_allocation_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        PERFORM payments_allocations_fit_receipt(OLD.receipt_id), payments_allocations_are_paid(OLD.payment_id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        PERFORM payments_allocations_fit_receipt(NEW.receipt_id), payments_allocations_are_paid(NEW.payment_id);
    END IF;
    RETURN NULL;
END $$;
CREATE FUNCTION payments_receipt_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM payments_allocations_fit_receipt(NEW.id);
    RETURN NULL;
END $$;
CREATE FUNCTION payments_payment_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM payments_allocations_are_paid(NEW.id);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER allocation_agrees AFTER INSERT OR UPDATE OR DELETE ON payments_allocation
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payments_allocation_changed();
CREATE CONSTRAINT TRIGGER receipt_agrees AFTER UPDATE OF amount, amount_refunded, reversed_at ON payments_receipt
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payments_receipt_changed();
CREATE CONSTRAINT TRIGGER payment_agrees AFTER INSERT OR UPDATE OF amount_paid ON payments_payment
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION payments_payment_changed();
"""
DROP_ALLOCATIONS_AGREE = """
DROP TRIGGER payment_agrees ON payments_payment;
DROP TRIGGER receipt_agrees ON payments_receipt;
DROP TRIGGER allocation_agrees ON payments_allocation;
DROP FUNCTION payments_payment_changed();
DROP FUNCTION payments_receipt_changed();
DROP FUNCTION payments_allocation_changed();
DROP FUNCTION payments_allocations_are_paid(bigint);
DROP FUNCTION payments_allocations_fit_receipt(bigint);
"""

# 4. A callback is never deleted. Its outcome may change, and its body may be emptied once it was applied
#    (CALLBACK_BODY_DAYS); where it came from, when, and what it said may not.
PROTECT_CALLBACKS = """
CREATE FUNCTION payments_keep_callback() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF ROW(NEW.id, NEW.source, NEW.push_id, NEW.code_check_id, NEW.headers, NEW.peer, NEW.received_at)
        IS DISTINCT FROM
        ROW(OLD.id, OLD.source, OLD.push_id, OLD.code_check_id, OLD.headers, OLD.peer, OLD.received_at)
        OR NEW.body <> OLD.body AND NOT (NEW.body = '' AND OLD.outcome IN ('applied', 'duplicate'))
    THEN
        RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER callback_evidence_stays
    BEFORE UPDATE OF id, source, push_id, code_check_id, headers, peer, received_at, body ON payments_callback
    FOR EACH ROW EXECUTE FUNCTION payments_keep_callback();
CREATE TRIGGER callback_is_kept BEFORE DELETE ON payments_callback
    FOR EACH ROW EXECUTE FUNCTION payments_refuse_change();
"""
DROP_PROTECT_CALLBACKS = """
DROP TRIGGER callback_is_kept ON payments_callback;
DROP TRIGGER callback_evidence_stays ON payments_callback;
DROP FUNCTION payments_keep_callback();
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0001_initial")]

    operations = [
        migrations.RunSQL(APPEND_ONLY, DROP_APPEND_ONLY),
        migrations.RunSQL(SUMS_TO_ZERO, DROP_SUMS_TO_ZERO),
        migrations.RunSQL(ALLOCATIONS_AGREE, DROP_ALLOCATIONS_AGREE),
        migrations.RunSQL(PROTECT_CALLBACKS, DROP_PROTECT_CALLBACKS),
    ]
