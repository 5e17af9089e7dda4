"""Who took which rows out as a file stays as it was written; only what became of the file may change."""

from django.db import migrations

KEEP = """
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
BACK = """
DROP TRIGGER export_stays ON api_export;
DROP TRIGGER export_is_kept ON api_export;
DROP FUNCTION api_keep_export();
"""


class Migration(migrations.Migration):
    dependencies = [("api", "0002_exports")]

    operations = [migrations.RunSQL(KEEP, BACK)]
