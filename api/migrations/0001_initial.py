"""Tables of the HTTP layer: counters of the throttles, and the record of exports."""

from django.conf import settings
from django.db import migrations, models
from django.db.models import Q


class Migration(migrations.Migration):
    initial = True

    dependencies = [migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        # How often something was asked within its window: the throttles count here, for all processes alike.
        migrations.CreateModel(
            name="Counter",
            fields=[
                ("key", models.CharField(max_length=128, primary_key=True, serialize=False)),
                ("count", models.PositiveIntegerField()),
                ("resets_at", models.DateTimeField(db_index=True)),
            ],
        ),
        # A list of the admin that somebody took out as a file. The row stays as the record of it:
        # see 0002_protect_exports.
        migrations.CreateModel(
            name="Export",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("asked_at", models.DateTimeField()),
                ("page", models.CharField(help_text="The list: the label of its model.", max_length=80)),
                ("filters", models.JSONField(default=dict, help_text="What the list was searched and filtered by.")),
                ("file_format", models.CharField(choices=[("csv", "CSV"), ("xlsx", "XLSX")], max_length=4)),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("sent", "Sent"),
                            ("waiting", "Waiting"),
                            ("ready", "Ready"),
                            ("failed", "Failed"),
                            ("forgotten", "Forgotten"),
                        ],
                        max_length=12,
                    ),
                ),
                ("rows", models.PositiveIntegerField(null=True)),
                ("ended_at", models.DateTimeField(help_text="When the file was written, or was given up.", null=True)),
                ("asked_by", models.ForeignKey(on_delete=models.PROTECT, related_name="+", to=settings.AUTH_USER_MODEL)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("asked_by", "page"),
                        condition=Q(state="waiting"),
                        name="export_waits_once_per_person_and_page",
                    ),
                    models.CheckConstraint(
                        condition=~Q(state__in=["sent", "ready"]) | Q(ended_at__isnull=False, rows__isnull=False),
                        name="export_written_is_counted",
                    ),
                ],
            },
        ),
    ]
