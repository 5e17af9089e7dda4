"""The sequence behind member numbers, and the trigger that keeps the audit."""

from django.db import migrations

APPEND_ONLY = """
CREATE FUNCTION accounts_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER securityevent_append_only BEFORE UPDATE OR DELETE ON accounts_securityevent
    FOR EACH ROW EXECUTE FUNCTION accounts_refuse_change();
"""
APPEND_ONLY_BACK = """
DROP TRIGGER securityevent_append_only ON accounts_securityevent;
DROP FUNCTION accounts_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [
        # Six digits: a club runs out after 999,999 people, not before.
        migrations.RunSQL(
            "CREATE SEQUENCE accounts_member_number_seq MINVALUE 1 MAXVALUE 999999 START 100001 CYCLE",
            "DROP SEQUENCE accounts_member_number_seq",
        ),
        migrations.RunSQL(APPEND_ONLY, APPEND_ONLY_BACK),
    ]
