"""The audit trail of changes, and the trigger that protects it."""

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import migrations, models
from django.db.models.deletion import DO_NOTHING

# A change is written once. The function belongs to 0002_protect_exports.
APPEND_ONLY = """
CREATE TRIGGER change_append_only BEFORE UPDATE OR DELETE ON api_change
    FOR EACH ROW EXECUTE FUNCTION api_keep_export();
"""
DROP_APPEND_ONLY = "DROP TRIGGER change_append_only ON api_change"


class Migration(migrations.Migration):
    dependencies = [
        ("api", "0003_add_idempotency_records"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Change",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("at", models.DateTimeField()),
                ("table", models.CharField(help_text="The label of the changed model.", max_length=80)),
                ("row", models.CharField(help_text="The primary key of the changed row.", max_length=40)),
                (
                    "kind",
                    models.CharField(
                        choices=[("added", "Added"), ("changed", "Changed"), ("deleted", "Deleted")], max_length=8
                    ),
                ),
                ("before", models.JSONField(encoder=DjangoJSONEncoder)),
                ("after", models.JSONField(encoder=DjangoJSONEncoder)),
                ("request_id", models.CharField(blank=True, max_length=64)),
                (
                    "by",
                    models.ForeignKey(
                        db_constraint=False,
                        null=True,
                        on_delete=DO_NOTHING,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={"indexes": [models.Index(fields=["table", "row", "-id"], name="change_by_row")]},
        ),
        migrations.RunSQL(APPEND_ONLY, DROP_APPEND_ONLY),
    ]
