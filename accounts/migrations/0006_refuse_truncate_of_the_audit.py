"""The audit is not emptied by TRUNCATE either."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "0005_guarded_logins")]

    operations = [
        migrations.RunSQL(
            "CREATE TRIGGER securityevent_is_not_truncated BEFORE TRUNCATE ON accounts_securityevent"
            " FOR EACH STATEMENT EXECUTE FUNCTION accounts_refuse_change()",
            "DROP TRIGGER securityevent_is_not_truncated ON accounts_securityevent",
        )
    ]
