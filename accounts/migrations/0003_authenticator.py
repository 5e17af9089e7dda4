"""Our own class for django-otp's table of authenticator apps, whose tables in turn need our people."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_protect_the_audit"), ("otp_totp", "0003_add_timestamps")]

    operations = [
        # A person's authenticator app. Same table, but the secret is stored sealed.
        migrations.CreateModel(
            name="Authenticator",
            fields=[],
            options={"proxy": True, "indexes": [], "constraints": []},
            bases=("otp_totp.totpdevice",),
        ),
    ]
