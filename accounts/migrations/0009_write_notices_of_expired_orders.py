"""Notices with a text of their own, and the notice about an expired order."""

from django.db import migrations, models

KINDS = [
    ("email_change_asked", "Email Change Asked"),
    ("email_changed", "Email Changed"),
    ("phone_change_asked", "Phone Change Asked"),
    ("phone_changed", "Phone Changed"),
    ("password_changed", "Password Changed"),
    ("session_copied", "Session Copied"),
    ("new_device", "New Device"),
    ("second_factor_added", "Second Factor Added"),
    ("second_factor_removed", "Second Factor Removed"),
    ("recovery_code_used", "Recovery Code Used"),
    ("known_contact", "Known Contact"),
    ("order_expired", "Order Expired"),
]


class Migration(migrations.Migration):
    dependencies = [("accounts", "0008_code_requests")]

    operations = [
        migrations.AddField(
            "notice",
            "text",
            models.CharField(blank=True, help_text="The whole message; empty: the kind says it.", max_length=480),
        ),
        migrations.AlterField("notice", "kind", models.CharField(choices=KINDS, max_length=32)),
    ]
