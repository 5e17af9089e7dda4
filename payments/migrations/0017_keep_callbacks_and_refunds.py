"""What Safaricom sent and what was given back stay as they were written, whoever asks.

Of a callback what became of it may change, and its bytes may be emptied once they were acted on (CALLBACK_BODY_DAYS).
"""

from django.db import migrations

KEEP = """
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
CREATE TRIGGER refund_append_only BEFORE UPDATE OR DELETE ON payments_refund
    FOR EACH ROW EXECUTE FUNCTION payments_refuse_change();
"""
BACK = """
DROP TRIGGER refund_append_only ON payments_refund;
DROP TRIGGER callback_is_kept ON payments_callback;
DROP TRIGGER callback_evidence_stays ON payments_callback;
DROP FUNCTION payments_keep_callback();
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0016_note_tax_numbers")]

    operations = [migrations.RunSQL(KEEP, BACK)]
