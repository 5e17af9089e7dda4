"""Triggers that protect the record of exports."""

from django.db import migrations

# Who took out which rows, and when, never changes, and no export is deleted.
# What became of the file (state, rows, ended_at) may change.
PROTECT_EXPORTS = """
CREATE FUNCTION api_keep_export() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;
CREATE TRIGGER export_is_kept BEFORE DELETE ON api_export
    FOR EACH ROW EXECUTE FUNCTION api_keep_export();
CREATE TRIGGER export_stays
    BEFORE UPDATE OF id, asked_by_id, asked_at, page, filters, file_format ON api_export
    FOR EACH ROW EXECUTE FUNCTION api_keep_export();
"""
DROP_PROTECT_EXPORTS = """
DROP TRIGGER export_stays ON api_export;
DROP TRIGGER export_is_kept ON api_export;
DROP FUNCTION api_keep_export();
"""


class Migration(migrations.Migration):
    dependencies = [("api", "0001_initial")]

    operations = [migrations.RunSQL(PROTECT_EXPORTS, DROP_PROTECT_EXPORTS)]
