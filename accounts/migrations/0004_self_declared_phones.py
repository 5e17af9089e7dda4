"""Mark the phone numbers that people typed at registration and have not verified."""

from django.db import migrations, models

# Somebody registered by themselves, has not verified the phone number, and no employee has changed their record since.
MARK = """
UPDATE accounts_customuser SET phone_is_self_declared = true
WHERE phone_number IS NOT NULL AND phone_verified_at IS NULL AND added_by_id IS NULL AND role = 'Member'
AND EXISTS (SELECT FROM accounts_securityevent AS e WHERE e.user_id = accounts_customuser.id AND e.event = 'registered')
AND NOT EXISTS (
    SELECT FROM accounts_securityevent AS e WHERE e.user_id = accounts_customuser.id AND e.event = 'person_changed'
)
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0003_authenticator")]

    operations = [
        migrations.AddField(
            "customuser",
            "phone_is_self_declared",
            models.BooleanField(
                db_default=False,
                default=False,
                editable=False,
                help_text="Typed at registration and not verified yet: no money is matched by it.",
            ),
        ),
        migrations.RunSQL(MARK, migrations.RunSQL.noop),
    ]
