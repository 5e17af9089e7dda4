"""Deferred triggers: live allocations never exceed their receipt, and are what their payment counts as paid."""

from django.db import migrations

AGREE = """
CREATE FUNCTION payments_allocations_fit_receipt(which bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT coalesce(sum(amount), 0) FROM payments_allocation WHERE receipt_id = which AND undone_at IS NULL)
       > (SELECT CASE WHEN reversed_at IS NULL THEN amount ELSE 0 END FROM payments_receipt WHERE id = which) THEN
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
CREATE CONSTRAINT TRIGGER receipt_agrees AFTER UPDATE OF amount, reversed_at ON payments_receipt
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION payments_receipt_changed();
CREATE CONSTRAINT TRIGGER payment_agrees AFTER INSERT OR UPDATE OF amount_paid ON payments_payment
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    EXECUTE FUNCTION payments_payment_changed();
"""
BACK = """
DROP TRIGGER payment_agrees ON payments_payment;
DROP TRIGGER receipt_agrees ON payments_receipt;
DROP TRIGGER allocation_agrees ON payments_allocation;
DROP FUNCTION payments_payment_changed();
DROP FUNCTION payments_receipt_changed();
DROP FUNCTION payments_allocation_changed();
DROP FUNCTION payments_allocations_are_paid(bigint);
DROP FUNCTION payments_allocations_fit_receipt(bigint);
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0004_desk_money")]

    operations = [migrations.RunSQL(AGREE, BACK)]
