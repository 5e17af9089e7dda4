"""The sequence of member numbers, and the trigger that protects the audit."""

from django.db import migrations

# Six digits, to which api/member_numbers.py adds a check digit. After 999999 the sequence goes on at 1.
MEMBER_NUMBERS = "CREATE SEQUENCE accounts_member_number_seq MINVALUE 1 MAXVALUE 999999 START 100001 CYCLE"
DROP_MEMBER_NUMBERS = "DROP SEQUENCE accounts_member_number_seq"

# A security event is written once: nobody changes or deletes it, not even through the database.
APPEND_ONLY = """
CREATE FUNCTION accounts_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER securityevent_append_only BEFORE UPDATE OR DELETE ON accounts_securityevent
    FOR EACH ROW EXECUTE FUNCTION accounts_refuse_change();
"""
DROP_APPEND_ONLY = """
DROP TRIGGER securityevent_append_only ON accounts_securityevent;
DROP FUNCTION accounts_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0001_initial")]

    operations = [
        migrations.RunSQL(MEMBER_NUMBERS, DROP_MEMBER_NUMBERS),
        migrations.RunSQL(APPEND_ONLY, DROP_APPEND_ONLY),
    ]
