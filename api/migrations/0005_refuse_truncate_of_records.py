"""The records of exports and of changes are not emptied by TRUNCATE either."""

from django.db import migrations


def refuse_truncate(table: str) -> migrations.RunSQL:
    return migrations.RunSQL(
        f"CREATE TRIGGER {table}_is_not_truncated BEFORE TRUNCATE ON api_{table} FOR EACH STATEMENT"
        " EXECUTE FUNCTION api_keep_export()",
        f"DROP TRIGGER {table}_is_not_truncated ON api_{table}",
    )


class Migration(migrations.Migration):
    dependencies = [("api", "0004_record_changes_by_staff")]

    operations = [refuse_truncate("export"), refuse_truncate("change")]
